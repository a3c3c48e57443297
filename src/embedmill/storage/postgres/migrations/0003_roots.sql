-- What a name in documents and failures means. A document of a root is named NUMBER/PATH: the number of its root, and
-- its path below it. Any other is named by its id; one that looks like the former has 0/ before it. The view `paths` has
-- the paths.

-- The files and folders that were given, as far as none lies in another.
CREATE TABLE roots (
    id       bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path     text    NOT NULL,  -- absolute: where it was when a run took it last
    folder   boolean NOT NULL,  -- or a single file
    relative text,              -- not used: such a store has no folder of its own
    machine  text    NOT NULL,  -- on which `path` means something; '' for not known
    host     text    NOT NULL   -- the machine's name, for people
);

-- How what was given was taken, so that a retry can take it in the same way.
CREATE TABLE given (
    scope   text NOT NULL COLLATE "C" PRIMARY KEY,  -- as a name: NUMBER/ or NUMBER/PATH/ of a folder, NUMBER/PATH of a file
    options text NOT NULL                           -- JSON
);

-- -1: not known, compare the content's hash.
ALTER TABLE documents ADD COLUMN ctime_ns bigint NOT NULL DEFAULT -1;  -- the inode's change
ALTER TABLE documents ADD COLUMN inode bigint NOT NULL DEFAULT -1;

CREATE VIEW paths AS
SELECT d.id AS document, coalesce(
    CASE WHEN r.folder THEN rtrim(r.path, '/') || substr(d.name, strpos(d.name, '/')) ELSE r.path END,
    regexp_replace(d.name, '^0/', '')
) AS path
FROM documents d LEFT JOIN roots r ON r.id = substring(d.name FROM '^([1-9][0-9]{0,17})/')::bigint;

-- Whose documents an older version has stored, by their absolute paths: a row until they are named as above.
CREATE TABLE rootless AS SELECT host FROM writer;
