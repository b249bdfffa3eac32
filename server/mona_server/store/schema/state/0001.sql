-- What is known of each context, and which files hold the facts. Two writers: fold and lake.

CREATE TABLE classes (
    class_id   INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    forgotten  INTEGER NOT NULL DEFAULT 0,  -- 1 = this row goes too once nothing refers to it
    UNIQUE (tenant, name)
) STRICT;

-- One row per context. An ordinary rowid table, so that new contexts go to the end and contexts that were
-- created together (and get their labels together) lie together. The index holds 48 bits of a hash of class
-- and id instead of both: a third of the bytes; readers compare the id, so a collision is harmless.
CREATE TABLE documents (
    document_id INTEGER PRIMARY KEY,
    hash        INTEGER NOT NULL,
    class_id    INTEGER NOT NULL,
    context_id  TEXT    NOT NULL,
    time_ms     INTEGER NOT NULL,   -- context time
    explicit    INTEGER NOT NULL,   -- 1 = from a timestamp that a message named; 0 = from an arrival
    arrival_ms  INTEGER NOT NULL,   -- first arrival
    updated_ms  INTEGER NOT NULL,   -- last arrival
    variables   BLOB    NOT NULL,   -- merged variables, JSON
    fact        BLOB                -- the last fact that was written: the next minus row is a copy of it
) STRICT;
CREATE INDEX documents_by_hash ON documents (hash);

-- The last inbox number that was folded: the reason why nothing is folded twice.
CREATE TABLE folded (
    tenant TEXT    PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every change of facts has a revision. The times translate "as it was known then" into revisions.
CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms    INTEGER NOT NULL
) STRICT;

-- Which physical column holds a field of one type. Names differ also when case is ignored, as DuckDB does.
CREATE TABLE columns (
    class_id INTEGER NOT NULL,
    field    TEXT    NOT NULL,
    type     TEXT    NOT NULL,      -- numeric, boolean, timestamp, string, geopoint, geoshape
    physical TEXT    NOT NULL,
    lists    INTEGER NOT NULL DEFAULT 0,    -- 1 = some row has an array: a second column <physical>[]
    PRIMARY KEY (class_id, field, type),
    UNIQUE (class_id, physical)
) STRICT, WITHOUT ROWID;

-- The order of the values in an encoded fact.
CREATE TABLE layouts (
    layout_id INTEGER PRIMARY KEY,
    class_id  INTEGER NOT NULL,
    physical  TEXT    NOT NULL,     -- JSON list of physical columns
    UNIQUE (class_id, physical)
) STRICT;

-- Facts and messages that are not in a file yet: one row per fold transaction and class.
CREATE TABLE pending (
    chunk_id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT    NOT NULL,      -- facts, messages
    class_id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    rows     INTEGER NOT NULL,
    body     BLOB    NOT NULL       -- see store/rows.py
) STRICT;
CREATE INDEX pending_by_class ON pending (kind, class_id, chunk_id);

-- The manifest. A file counts while removed_ms is null; it stays on disk for a grace period after that.
CREATE TABLE files (
    file_id      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL,  -- facts, messages
    class_id     INTEGER NOT NULL,
    path         TEXT    NOT NULL UNIQUE,   -- below lake/
    rows         INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    checksum     TEXT    NOT NULL,  -- SHA-256, hex
    min_time_ms  INTEGER NOT NULL,  -- facts: context time; messages: arrival
    max_time_ms  INTEGER NOT NULL,
    min_revision INTEGER NOT NULL,
    max_revision INTEGER NOT NULL,
    columns      TEXT    NOT NULL,  -- JSON list of its physical columns
    level        INTEGER NOT NULL,  -- 0 = flushed, 1 = compacted
    minus        INTEGER NOT NULL,  -- rows with sign -1
    settled      INTEGER NOT NULL,  -- pairs that a revision up to this one cancelled were dropped
    added_ms     INTEGER NOT NULL,
    removed_ms   INTEGER
) STRICT;
CREATE INDEX files_live ON files (kind, class_id) WHERE removed_ms IS NULL;
CREATE INDEX files_removed ON files (removed_ms) WHERE removed_ms IS NOT NULL;

-- How many rows of a class there are, in live files and pending together. Whoever reads fewer has lost a
-- manifest row or a chunk, and says so instead of answering.
CREATE TABLE ledger (
    kind     TEXT    NOT NULL,
    class_id INTEGER NOT NULL,
    rows     INTEGER NOT NULL,
    PRIMARY KEY (kind, class_id)
) STRICT, WITHOUT ROWID;

-- Which days of a class got new rows, and how many contexts each has.
CREATE TABLE days (
    class_id INTEGER NOT NULL,
    day      INTEGER NOT NULL,      -- since 1970-01-01, of the context time
    revision INTEGER NOT NULL,      -- last one that touched the day
    contexts INTEGER NOT NULL,
    PRIMARY KEY (class_id, day)
) STRICT, WITHOUT ROWID;

-- Contexts that were deleted for good: their rows up to the revision must leave all files.
CREATE TABLE erasures (
    erasure_id INTEGER PRIMARY KEY AUTOINCREMENT,
    class_id   INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    ids        TEXT                -- JSON list of context ids; null = all of the class
) STRICT;

-- The ingestion report: counts per class and hour of arrival.
CREATE TABLE report (
    tenant  TEXT    NOT NULL,
    class   TEXT    NOT NULL,
    hour_ms INTEGER NOT NULL,
    what    TEXT    NOT NULL,       -- messages, contexts, refused, build_errors, unknown_variables, cut, late
    item    TEXT    NOT NULL,       -- action and result, reason, field and reason, variable, age bin
    count   INTEGER NOT NULL,
    example TEXT    NOT NULL DEFAULT '',    -- up to three context ids, JSON
    PRIMARY KEY (tenant, class, hour_ms, what, item)
) STRICT, WITHOUT ROWID;

-- Single numbers and texts: asof_horizon (oldest revision that can be read as of), disk and lag figures.
CREATE TABLE marks (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
