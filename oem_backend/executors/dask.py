"""Workers on several machines of an isolated network, by Dask (extra ``[dask]``; docs/factory.md).

A chunk travels sealed. On a worker's machine it is opened by a process of its own
(:mod:`oem_backend.executors.processes`), not by Dask's, which is long-lived. Whoever reaches the
scheduler can have workers run anything, and so read seeds: mutual TLS under a private CA is the one
way in, and what comes back is octets, never a pickle.
"""

from __future__ import annotations

import pkgutil
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal

from distributed import Client, Future, KilledWorker
from distributed.security import Security
from pydantic import Field

from brski.edge.settings import ExistingFile, Settings
from brski.errors import OnboardingError, SettingsError, Unavailable
from oem_backend.executors.answers import answer, parse_answer
from oem_backend.executors.port import Task
from oem_backend.executors.processes import ProcessExecutor

_PLAIN: Final = ["msgpack", "dask"]  # what may cross to us: octets, no pickles


class DaskSettings(Settings):
    """``[factory.executor]`` of kind ``"dask"``."""

    kind: Literal["dask"]
    scheduler: Annotated[str, Field(pattern=r"^tls://")]
    ca: ExistingFile  # PEM: the cluster's own CA, which certifies nobody else
    cert: ExistingFile  # PEM
    key: ExistingFile  # PEM, 0600
    at_once: Annotated[int, Field(ge=1, le=4096)] = 8
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0


class DaskExecutor:
    """Implements :class:`oem_backend.executors.port.Executor`.

    Args:
        scheduler: ``tls://host:port``.
        security: mutual TLS.
        at_once: jobs under way; as many as all workers have threads, or a few more.
        timeout_s: to reach the scheduler.

    Raises:
        SettingsError: another scheme than ``tls``.
    """

    trusted: Final = False

    Settings = DaskSettings

    @classmethod
    def open(cls, settings: DaskSettings) -> DaskExecutor:
        """Build it from its settings table."""
        return cls(
            settings.scheduler,
            Security(
                tls_ca_file=str(settings.ca),
                tls_client_cert=str(settings.cert),
                tls_client_key=str(settings.key),
                require_encryption=True,
            ),
            at_once=settings.at_once,
            timeout_s=settings.timeout_s,
        )

    def __init__(
        self, scheduler: str, security: Security, *, at_once: int = 8, timeout_s: float = 10.0
    ) -> None:
        if not scheduler.startswith("tls://"):
            raise SettingsError(f"scheduler {scheduler!r}: seeds pass it; tls:// alone is taken")
        self._scheduler = scheduler
        self._security = security
        self._at_once = at_once
        self._timeout_s = timeout_s

    def map(self, task: Task, jobs: Iterable[bytes]) -> Generator[bytes, None, None]:
        """See :meth:`oem_backend.executors.port.Executor.map`.

        A job whose worker is lost is given to another; its answer counts once.
        """
        name = f"{task.__module__}:{task.__qualname__}"
        with self._connected() as client:
            running: deque[Future[Any]] = deque()
            for job in jobs:
                running.append(client.submit(do_job, name, job, pure=False))
                if len(running) == self._at_once:
                    yield _answer_of(running.popleft())
            while running:
                yield _answer_of(running.popleft())

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        try:
            client = Client(
                self._scheduler,
                security=self._security,
                timeout=self._timeout_s,
                set_as_default=False,
                serializers=["dask", "pickle"],
                deserializers=_PLAIN,
            )
        except (OSError, ValueError, RuntimeError) as err:
            raise Unavailable(
                f"the Dask scheduler {self._scheduler} cannot be reached over mutual TLS: {err}"
            ) from err
        with client:
            yield client


def _answer_of(future: Future[Any]) -> bytes:
    try:
        octets = future.result()
    except KilledWorker as err:
        raise Unavailable("a job was lost with its worker, several times over") from err
    except OnboardingError:
        raise
    except Exception as err:  # whatever the cluster may raise, it is the cluster's
        raise Unavailable(f"the Dask cluster failed: {type(err).__name__}") from err
    finally:
        future.release()
    return parse_answer(octets if isinstance(octets, bytes) else b"")


def do_job(name: str, job: bytes) -> bytes:
    """On a worker's machine: do the job in a process that ends after it.

    Args:
        name: of the task, ``module:function``.

    Returns:
        For :func:`oem_backend.executors.answers.parse_answer`.
    """
    return answer(lambda octets: _in_a_process(name, octets), job)


def _in_a_process(name: str, job: bytes) -> bytes:
    task: Task = pkgutil.resolve_name(name)
    (done,) = ProcessExecutor(1).map(task, [job])
    return done
