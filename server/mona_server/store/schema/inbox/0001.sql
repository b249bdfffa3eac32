-- Accepted request bodies in order of acceptance, until they are folded.
-- AUTOINCREMENT: without it an emptied table would start at 1 again, and numbers that the fold has
-- already passed would never be folded.
CREATE TABLE inbox (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      TEXT    NOT NULL,
    arrival_ms  INTEGER NOT NULL,   -- server clock at acceptance
    limits      TEXT    NOT NULL,   -- the limits in force then: the fold must refuse and cut exactly the same
    total_bytes INTEGER NOT NULL,   -- bytes of all bodies up to this one: the backlog is one subtraction
    body        BLOB    NOT NULL    -- decompressed request body, as received
) STRICT;
CREATE INDEX inbox_by_tenant ON inbox (tenant, number);

-- Idempotency keys live in one table keys_<period> per period, dropped whole when it is old. Each has
-- hash (tenant, path family and key; 16 bytes), digest (of the body; 16 bytes), messages, and the
-- answer where it was not a full success.
CREATE TABLE periods (
    period INTEGER PRIMARY KEY,     -- arrival_ms / length of a period
    keys   INTEGER NOT NULL
) STRICT;

-- Repeated requests that got their first answer again, for the ingestion report.
CREATE TABLE replays (
    tenant   TEXT    NOT NULL,
    hour_ms  INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (tenant, hour_ms)
) STRICT, WITHOUT ROWID;
