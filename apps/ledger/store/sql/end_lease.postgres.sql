-- end_lease.postgres.sql : a process stopped in order and holds nothing any more.
-- in   : $1 process_id      out: nothing
DELETE FROM ledger_processlease WHERE process_id = $1::uuid
