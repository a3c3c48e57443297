-- The first schema. A migration and the number of the schema it leads to (PRAGMA user_version)
-- are committed together, so that a killed migration leaves the schema it began with.

-- Facts of the whole store:
--   generation   16 random bytes, new with every transaction that changes what a search can find.
--                Random and not counted up, so that it is never equal by chance, not even after a
--                backup was put back.
--   space, fields, dimension, model    what the store is bound to; absent until it is
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

INSERT INTO meta VALUES ('generation', randomblob(16));

-- One version of a document. The complete ones are the ledger: such a row, its chunks and their
-- vectors came in one transaction, the old version went in the same. Versions that are not
-- complete are staged: parts of a large document that no reader sees yet.
CREATE TABLE documents (
    id           INTEGER PRIMARY KEY,
    uid          INTEGER NOT NULL DEFAULT (random()),  -- tells versions apart that come to have the same id
    name         TEXT    NOT NULL,                     -- Document.id
    complete     INTEGER NOT NULL,                     -- 0 or 1
    size         INTEGER,                              -- bytes; this and the next three are NULL while staged
    mtime_ns     INTEGER,
    content_hash BLOB,
    recipe       TEXT,
    precision    TEXT    NOT NULL,                     -- what its vectors were computed with
    chunks       INTEGER NOT NULL DEFAULT 0            -- its rows in chunks; 0 while staged
);

CREATE UNIQUE INDEX complete_documents ON documents (name) WHERE complete;
-- All that a search has to know of the documents, without reading their rows; `complete` is named
-- again, since SQLite would read the row to test it.
CREATE INDEX visible_documents ON documents (id, uid, chunks, complete) WHERE complete;
CREATE INDEX staged_documents ON documents (name) WHERE NOT complete;

-- The text that was embedded, and where it stands. Rows are never changed.
-- The same text in two documents is two rows.
CREATE TABLE chunks (
    id       INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    idx      INTEGER NOT NULL,  -- Chunk.index
    start    INTEGER NOT NULL,  -- characters
    "end"    INTEGER NOT NULL,
    line     INTEGER NOT NULL,
    end_line INTEGER NOT NULL,
    tokens   INTEGER NOT NULL,
    hash     BLOB    NOT NULL,  -- SHA-256 of what the model was given
    context  TEXT    NOT NULL,
    text     TEXT    NOT NULL
);

CREATE UNIQUE INDEX chunks_of_document ON chunks (document, idx);
CREATE INDEX chunks_by_hash ON chunks (hash);

-- Apart from the texts, so that reading all vectors reads nothing else.
CREATE TABLE vectors (
    chunk  INTEGER PRIMARY KEY REFERENCES chunks ON DELETE CASCADE,
    vector BLOB NOT NULL  -- little-endian float32
);

-- Chunks, or whole documents (idx -1), that have no vector. By name, since a document that could
-- not be read has no row in documents.
CREATE TABLE failures (
    document TEXT    NOT NULL,
    idx      INTEGER NOT NULL,
    start    INTEGER NOT NULL,
    "end"    INTEGER NOT NULL,
    line     INTEGER NOT NULL,
    type     TEXT    NOT NULL,
    message  TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    at       INTEGER NOT NULL,  -- seconds since the epoch, of the last attempt
    PRIMARY KEY (document, idx)
) WITHOUT ROWID;
