-- renew_lease.postgres.sql : say that a process is alive, by the database's clock.
-- in   : $1 process_id, $2 name, $3 life in seconds      out: how many processes are alive, this one included
INSERT INTO ledger_processlease AS own (process_id, name, started_at, expires_at)
VALUES ($1::uuid, $2, now(), now() + make_interval(secs => $3::int))
ON CONFLICT (process_id) DO UPDATE SET expires_at = excluded.expires_at
RETURNING 1 + (
    SELECT count(*) FROM ledger_processlease AS other
    -- The sweepers' own row is no process.
    WHERE other.expires_at > now() AND other.process_id NOT IN (own.process_id, '00000000-0000-0000-0000-000000000000')
)
