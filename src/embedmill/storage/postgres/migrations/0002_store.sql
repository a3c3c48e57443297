-- The store: documents, their chunks with vectors, and what failed.
--
-- What people ask most:
--
--     SELECT d.name, c.line, c.text
--     FROM documents d JOIN chunks c ON c.document = d.id
--     WHERE d.complete
--     ORDER BY c.vector <#> '[...]'  -- less is nearer: the negative inner product
--     LIMIT 10;
--
-- A text may hold what PostgreSQL's cannot: the character NUL stands here as U+2400 (a picture of "NUL"), and U+2400 and
-- U+241B themselves with U+241B (a picture of "ESC") before them. All other texts are as they were.

-- What the store is bound to: one row, and none until it is.
CREATE TABLE meta (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    space     text    NOT NULL,  -- the space's id
    fields    jsonb   NOT NULL,  -- what the space is made of
    dimension integer NOT NULL,  -- that of chunks.vector
    model     text    NOT NULL   -- the name it was first written under
);

-- Who writes, or wrote last: one row. A writer holds an advisory lock as long as its connection lives; this says whose it
-- is. Each transaction of a run counts `step` up in the row, so that whoever has lost the answer to a COMMIT
-- can see whether it was done, and one who lost the lock meanwhile cannot write any more.
CREATE TABLE writer (
    one     boolean     PRIMARY KEY DEFAULT true CHECK (one),
    run     bigint      NOT NULL DEFAULT 0,  -- counted up by each that opens the store for writing
    host    text,
    process integer,
    since   timestamptz,
    step    bigint      NOT NULL DEFAULT 0,  -- transactions of this run
    answer  bigint                           -- what the last of them came to
);

INSERT INTO writer DEFAULT VALUES;

-- The names that a run has seen: what it has not seen at its end has vanished. Not logged, for speed: a server that crashes
-- empties the table, and then '', which each run puts here first, is missing too.
CREATE UNLOGGED TABLE seen (
    run  bigint NOT NULL,             -- writer.run
    name text   NOT NULL COLLATE "C",
    PRIMARY KEY (run, name)
);

-- One version of a document. The complete ones are the ledger: such a row and its chunks came in one transaction, the old
-- version went in the same. Versions that are not complete are staged: parts of a large document that no reader sees yet.
CREATE TABLE documents (
    id           bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text    NOT NULL COLLATE "C",  -- Document.id
    complete     boolean NOT NULL,
    size         bigint,                        -- bytes; this and the next three are NULL while staged
    mtime_ns     bigint,
    content_hash bytea,
    recipe       text,
    precision    text    NOT NULL,              -- what its vectors were computed with
    chunks       bigint  NOT NULL DEFAULT 0     -- its rows in chunks; 0 while staged
);

CREATE UNIQUE INDEX complete_documents ON documents (name) WHERE complete;
CREATE INDEX staged_documents ON documents (name) WHERE NOT complete;

-- The text that was embedded, where it stands, and its vector. Rows are never changed. The same text in two documents is
-- two rows. The order of ids is that of storing.
CREATE TABLE chunks (
    id       bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document bigint  NOT NULL REFERENCES documents ON DELETE CASCADE,
    idx      integer NOT NULL,  -- Chunk.index
    start    integer NOT NULL,  -- characters
    "end"    integer NOT NULL,
    line     integer NOT NULL,
    end_line integer NOT NULL,
    tokens   integer NOT NULL,
    hash     bytea   NOT NULL,  -- SHA-256 of what the model was given
    vector   vector  NOT NULL,  -- of the dimension that the store is bound to, once it is
    context  text    NOT NULL,
    text     text    NOT NULL
);

CREATE UNIQUE INDEX chunks_of_document ON chunks (document, idx);
CREATE INDEX chunks_by_hash ON chunks (hash);

-- Chunks, or whole documents (idx -1), that have no vector. By name, since a document that could
-- not be read has no row in documents.
CREATE TABLE failures (
    document text        NOT NULL COLLATE "C",
    idx      integer     NOT NULL,
    start    integer     NOT NULL,
    "end"    integer     NOT NULL,
    line     integer     NOT NULL,
    type     text        NOT NULL,
    message  text        NOT NULL,
    attempts integer     NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),  -- of the last attempt
    PRIMARY KEY (document, idx)
);
