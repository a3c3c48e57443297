-- What a chunk has of the user's own (source_category, document_date, total_chunks, metadata), as a JSON object; NULL for
-- nothing, as of all that `index` cuts.
ALTER TABLE chunks ADD COLUMN attributes TEXT;

-- A document that no source knows, written by `store.write`, is named 00/ID and a dot, so that no folder that moves or goes
-- takes it along.
DROP VIEW paths;
CREATE VIEW paths AS
SELECT d.id AS document, CASE
    WHEN r.folder THEN rtrim(r.path, '/') || substr(d.name, instr(d.name, '/'))
    WHEN r.id IS NOT NULL THEN r.path
    WHEN d.name GLOB '0/*' THEN substr(d.name, 3)
    WHEN d.name GLOB '00/*' THEN substr(d.name, 4, length(d.name) - 4)
    ELSE d.name
END AS path
FROM documents d LEFT JOIN roots r ON d.name GLOB '[1-9]*/*' AND r.id = CAST(d.name AS INTEGER);
