-- The page of a chunk's first character, from 1, of a document that has pages; else 0.
ALTER TABLE chunks ADD COLUMN page INTEGER NOT NULL DEFAULT 0;
