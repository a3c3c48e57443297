-- What tables and columns are known by, whatever their names have become. All of it is NULL until a run has noted it.
-- Names may stand twice: a table that was dropped keeps its entry, by which one that is put in its place is known.
ALTER TABLE tables
    ADD known_in      text,        -- the database and the registry that these numbers are of: others after a restore
    ADD relation      oid,         -- of the table
    ADD vector_number smallint,    -- of the columns, in pg_attribute
    ADD text_number   smallint,
    ADD key_numbers   smallint[],
    ADD vector_type   text,        -- that the vectors had when their prints were taken
    ADD overwriting   integer,     -- the first run of an overwriting that has not come to its end
    DROP CONSTRAINT tables_name_schema_name_vector_key;

-- A mark knows the vector that was written, too: by a hash of what pgvector sends of it.
DO $$
DECLARE
    marks regclass;
BEGIN
    FOR marks IN
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = current_schema() AND c.relkind = 'r' AND c.relname ~ '^marks_[0-9]+$'
        AND pg_has_role(c.relowner, 'USAGE')  -- the others get it from their owners
    LOOP
        EXECUTE format('ALTER TABLE %s ADD print bytea', marks);
    END LOOP;
END
$$;
