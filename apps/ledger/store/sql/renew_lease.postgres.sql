-- renew_lease.postgres.sql : say that a process is alive, by the database's clock.
-- in   : process_id, name, life_s      out: nothing
INSERT INTO ledger_processlease (process_id, name, started_at, expires_at)
VALUES (%(process_id)s, %(name)s, now(), now() + make_interval(secs => %(life_s)s))
ON CONFLICT (process_id) DO UPDATE SET expires_at = excluded.expires_at
