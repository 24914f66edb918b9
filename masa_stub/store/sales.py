"""The sales data: to whom the manufacturer has sold which device, and what became of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, insert, select

from brski.edge.sql_writer import Writer
from masa_stub.ownership import BuyerKind, Sale
from masa_stub.store.schema import SALES, microseconds, moment

_OF_DEVICE = (
    select(SALES)
    .where(
        and_(
            SALES.c.idevid_issuer == bindparam("issuer"),
            SALES.c.serial_number == bindparam("serial"),
        )
    )
    .order_by(SALES.c.id)
)
_OF_SERIAL_NUMBER = (
    select(SALES).where(SALES.c.serial_number == bindparam("serial")).order_by(SALES.c.id)
)
_PUT = insert(SALES)


class SalesBook:
    """Lines are only ever added: the newest of a device counts, the others are its past.

    Args:
        writer: of :func:`masa_stub.store.schema.open_store`; closed by who opened it.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def add(self, *sales: Sale) -> None:
        """Write down *sales*: all of them, or none."""
        rows = [
            {
                "at": microseconds(sale.at),
                "idevid_issuer": sale.idevid_issuer,
                "serial_number": sale.serial_number,
                "kind": sale.kind.value,
                "buyer": sale.buyer,
            }
            for sale in sales
        ]

        def work(db: Connection) -> None:
            db.execute(_PUT, rows)

        if rows:
            await self._writer.run(work)

    def of_device(self, idevid_issuer: bytes, serial_number: str) -> tuple[Sale, ...]:
        """Every line of a device, oldest first."""
        values = {"issuer": idevid_issuer, "serial": serial_number}
        return self._writer.read(
            lambda db: tuple(_sale(row) for row in db.execute(_OF_DEVICE, values))
        )

    async def of_serial_number(self, serial_number: str) -> tuple[Sale, ...]:
        """Every line of every device with this serial number, oldest first."""
        values = {"serial": serial_number}
        return await self._writer.read_aside(
            lambda db: tuple(_sale(row) for row in db.execute(_OF_SERIAL_NUMBER, values))
        )

    async def last(self, limit: int) -> tuple[Sale, ...]:
        """The last *limit* lines, oldest first."""
        query = select(SALES).order_by(SALES.c.id.desc()).limit(limit)
        return await self._writer.read_aside(
            lambda db: tuple(_sale(row) for row in reversed(list(db.execute(query))))
        )


def _sale(row: Row[Any]) -> Sale:
    return Sale(
        at=moment(row.at),
        idevid_issuer=row.idevid_issuer,
        serial_number=row.serial_number,
        kind=BuyerKind(row.kind),
        buyer=row.buyer,
    )
