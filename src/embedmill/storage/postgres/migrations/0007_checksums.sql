-- What a vector was when it was written: CRC-32 of its chunk's hash and its numbers as little-endian float32, by which one
-- that is damaged, or another chunk's, is told (embedmill/storage/checksums.py). NULL of vectors that were there before:
-- they get one when their document is stored anew.
ALTER TABLE chunks ADD COLUMN checksum bigint;
