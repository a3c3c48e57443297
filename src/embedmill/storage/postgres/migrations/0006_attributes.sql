-- What a chunk has of the user's own (source_category, document_date, total_chunks, metadata); NULL for nothing, as of all
-- that `index` cuts. Not jsonb, which would give large numbers back as others, and refuses the character NUL.
ALTER TABLE chunks ADD COLUMN attributes json;

-- A document that no source knows, written by `store.write`, is named 00/ID and a dot, so that no folder that moves or goes
-- takes it along.
CREATE OR REPLACE VIEW paths AS
SELECT d.id AS document, coalesce(
    CASE WHEN r.folder THEN rtrim(r.path, '/') || substr(d.name, strpos(d.name, '/')) ELSE r.path END,
    CASE WHEN d.name LIKE '00/%' THEN substr(d.name, 4, length(d.name) - 4) END,
    regexp_replace(d.name, '^0/', '')
) AS path
FROM documents d LEFT JOIN roots r ON r.id = substring(d.name FROM '^([1-9][0-9]{0,17})/')::bigint;
