-- A replay asks raw for what happened on a day, whenever it was received: block ranges without that day are not read.
create index on raw.events using brin (occurred_at) with (autosummarize = on);
create index on raw.llm_requests using brin (occurred_at) with (autosummarize = on);
create index on raw.identifies using brin (occurred_at) with (autosummarize = on);
create index on raw.session_batches using brin (started_at) with (autosummarize = on);
