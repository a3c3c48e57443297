-- Tables of the user's whose rows get vectors. What is known of the single rows lies beside, in a table for each:
-- marks_<id>, whose key columns have the types of the user's (see embedmill/tables/postgres/statements.py).
CREATE TABLE tables (
    id          integer   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name_schema text      NOT NULL,
    name        text      NOT NULL,
    vector      text      NOT NULL,                -- the column that is filled
    text        text      NOT NULL,                -- the column that is read
    keys        text[]    NOT NULL,                -- the columns that tell a row, in order
    key_types   text[]    NOT NULL,
    space       text,                              -- of the vectors; NULL until the first run
    fields      jsonb,                             -- what the space is made of
    model       text,                              -- the name it was first written under
    filled      boolean   NOT NULL DEFAULT false,  -- whether a run has come to its end
    UNIQUE (name_schema, name, vector)
);

-- Numbers of runs. A run holds the advisory lock of its number as long as it lives (and its connection), so that
-- what a dead one had claimed is given back by the server itself.
CREATE SEQUENCE runs AS integer CYCLE;
