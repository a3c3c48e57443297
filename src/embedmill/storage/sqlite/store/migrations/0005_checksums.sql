-- What a vector was when it was written: CRC-32 of its chunk's hash and its bytes, by which one that is damaged, or
-- another chunk's, is told (embedmill/storage/checksums.py). Computed at once for the vectors that are there: 100,000 of
-- 384 numbers take some 2 seconds, and in a page of 16 kB there is room for it.
ALTER TABLE vectors ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
UPDATE vectors SET checksum = embedmill_checksum((SELECT hash FROM chunks WHERE id = chunk), vector);
