-- end_lease.postgres.sql : a process stopped in order and holds nothing any more.
-- in   : process_id      out: nothing
DELETE FROM ledger_processlease WHERE process_id = %(process_id)s
