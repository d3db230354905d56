-- A batch with its labels, counts and findings, visible with the transaction: one way to the server.
WITH batch AS (
    INSERT INTO finding_batches (job, task, attempt, position, findings, linked, last_row, last_seq, committed_at)
    VALUES ($1, $2, $3, $4, $5, true, $6, $7, $8) RETURNING id
), labels AS (
    INSERT INTO finding_labels (batch, label, name)
    SELECT batch.id, l.label, l.name FROM batch, UNNEST($9::integer[], $10::bytea[]) AS l (label, name)
), counts AS (
    INSERT INTO finding_counts (batch, code, label, findings)
    SELECT batch.id, c.code, c.label, c.findings
    FROM batch, UNNEST($11::smallint[], $12::integer[], $13::bigint[]) AS c (code, label, findings)
)
INSERT INTO findings (batch, ordinal, row_number, seq, label, line, byte_offset, column_number, code, cell, message,
    raw_value)
SELECT batch.id, f.number - 1, f.row_number, f.seq, f.label, f.line, f.byte_offset, f.column_number, f.code, f.cell,
    f.message, f.raw_value
FROM batch, UNNEST($14::bigint[], $15::integer[], $16::integer[], $17::bigint[], $18::bigint[], $19::integer[],
        $20::smallint[], $21::text[], $22::bytea[], $23::bytea[])
    WITH ORDINALITY AS f (row_number, seq, label, line, byte_offset, column_number, code, cell, message, raw_value,
        number)
