-- Why: a job's end can be signed with a key of its object's own. Kept is where the key is, a Secret of the object's
-- namespace and a key in it, and never the key itself: it is read whenever something is signed.

ALTER TABLE object_links
    ADD COLUMN webhook_secret text COLLATE "C",
    ADD COLUMN webhook_secret_key text COLLATE "C",
    ADD CONSTRAINT object_links_webhook_secret CHECK ((webhook_secret IS NULL) = (webhook_secret_key IS NULL));
