"""The tables of the ledger. Steps once released are only ever followed by others."""

from __future__ import annotations

from typing import Final

from oem_backend.factory.ledger import waiting
from oem_backend.factory.looks import look_of

SCHEMA: Final = (
    """
    CREATE TABLE batch (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        predecessor BLOB,
        vendor_id TEXT NOT NULL,
        product TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        batch_id TEXT NOT NULL,
        profile TEXT NOT NULL,
        records INTEGER NOT NULL,
        UNIQUE (vendor_id, product, sequence)
    );
    CREATE TABLE chip (
        chip_id BLOB NOT NULL UNIQUE,
        fingerprint BLOB NOT NULL UNIQUE,
        batch INTEGER NOT NULL REFERENCES batch (number),
        chunk INTEGER NOT NULL
    );

    CREATE TABLE build_list (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        product TEXT NOT NULL,
        generation INTEGER NOT NULL,
        created INTEGER NOT NULL,
        terms BLOB NOT NULL,
        finished INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX finished_generation ON build_list (product, generation) WHERE finished;
    CREATE TABLE bundle (
        build_list INTEGER NOT NULL REFERENCES build_list (number),
        batch INTEGER NOT NULL REFERENCES batch (number),
        digest BLOB NOT NULL,
        file_sha256 BLOB NOT NULL,
        records INTEGER NOT NULL,
        PRIMARY KEY (build_list, batch)
    );

    -- lists at work, in the order of their serial numbers; empty when nothing is at work
    CREATE TABLE entry (
        place INTEGER PRIMARY KEY,
        build_list INTEGER NOT NULL REFERENCES build_list (number),
        serial_number TEXT NOT NULL,
        chip_id BLOB NOT NULL,
        presentation TEXT NOT NULL,
        replaces INTEGER NOT NULL,
        batch INTEGER REFERENCES batch (number),
        chunk INTEGER,
        UNIQUE (build_list, serial_number)
    );
    CREATE INDEX entry_of_chunk ON entry (build_list, batch, chunk);
    CREATE TABLE made (
        place INTEGER PRIMARY KEY REFERENCES entry (place) ON DELETE CASCADE,
        certificate BLOB NOT NULL,
        sha256 BLOB NOT NULL
    );

    CREATE TABLE certificate (
        sha256 BLOB NOT NULL UNIQUE,
        idevid_issuer BLOB NOT NULL,
        serial_number TEXT NOT NULL,
        chip_id BLOB NOT NULL,
        build_list INTEGER NOT NULL REFERENCES build_list (number),
        ended_by INTEGER REFERENCES build_list (number)
    );
    CREATE INDEX certificate_of_chip ON certificate (chip_id);
    CREATE INDEX certificate_of_number ON certificate (serial_number, idevid_issuer);
    CREATE UNIQUE INDEX one_for_a_chip ON certificate (chip_id) WHERE ended_by IS NULL;
    CREATE UNIQUE INDEX one_for_a_number ON certificate (serial_number, idevid_issuer)
        WHERE ended_by IS NULL;
    """,
    waiting.SCHEMA,
    f"""
    CREATE INDEX certificate_by_look ON certificate ({look_of("serial_number")}, idevid_issuer)
        WHERE ended_by IS NULL;
    CREATE INDEX waiting_by_look ON waiting ({look_of("serial_number")});
    """,
)
