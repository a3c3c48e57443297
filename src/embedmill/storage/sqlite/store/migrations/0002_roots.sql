-- What a name in documents and failures means. A document of a root is named NUMBER/PATH: the number of its root, and
-- its path below it. Any other is named by its id; one that looks like the former has 0/ before it. The view `paths`
-- has the paths.

-- The files and folders that were given, as far as none lies in another.
CREATE TABLE roots (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given out twice
    path     TEXT    NOT NULL,  -- absolute: where it was when a run took it last
    folder   INTEGER NOT NULL,  -- 1, or 0 for a single file
    relative TEXT,              -- the path from the store's own folder, for what moves together with the store
    machine  TEXT    NOT NULL,  -- on which `path` means something; '' for not known
    host     TEXT    NOT NULL   -- the machine's name, for people
);

-- How what was given was taken, so that a retry can take it in the same way.
CREATE TABLE given (
    scope   TEXT PRIMARY KEY,  -- as a name: NUMBER/ or NUMBER/PATH/ of a folder, NUMBER/PATH of a file
    options TEXT NOT NULL      -- JSON
) WITHOUT ROWID;

-- -1: not known, compare the content's hash.
ALTER TABLE documents ADD COLUMN ctime_ns INTEGER NOT NULL DEFAULT -1;  -- the inode's change
ALTER TABLE documents ADD COLUMN inode INTEGER NOT NULL DEFAULT -1;

-- The documents' paths, where a run took them last.
CREATE VIEW paths AS
SELECT d.id AS document, CASE
    WHEN r.folder THEN rtrim(r.path, '/') || substr(d.name, instr(d.name, '/'))
    WHEN r.id IS NOT NULL THEN r.path
    WHEN d.name GLOB '0/*' THEN substr(d.name, 3)
    ELSE d.name
END AS path
FROM documents d LEFT JOIN roots r ON d.name GLOB '[1-9]*/*' AND r.id = CAST(d.name AS INTEGER);

-- Documents that an older version stored are still named by their absolute paths.
INSERT INTO meta VALUES ('rootless', 1);
