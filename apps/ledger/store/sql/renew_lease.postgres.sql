-- renew_lease.postgres.sql : say that a process is alive, by the database's clock.
-- in   : $1 process_id, $2 name, $3 life in seconds      out: nothing
INSERT INTO ledger_processlease (process_id, name, started_at, expires_at)
VALUES ($1::uuid, $2, now(), now() + make_interval(secs => $3::int))
ON CONFLICT (process_id) DO UPDATE SET expires_at = excluded.expires_at
