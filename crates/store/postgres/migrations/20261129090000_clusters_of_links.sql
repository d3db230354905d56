-- Why: a database that is restored, or moved, into another cluster knows objects that this one never had. Their jobs are
-- to stay, while those of objects that were deleted here go. So each link says in which cluster its object was seen last.
--
-- A cluster is known by the uid of the Lease by which its controllers choose who leads. A link without one is of an
-- earlier version, and of no cluster until its object is seen; the empty text says that it was looked for in another
-- cluster, and its job goes on without it. Such a link stays: the database may come back, and what signs the job's
-- webhook stands there.

ALTER TABLE object_links
    ADD COLUMN cluster text COLLATE "C";
