-- Server rows among session batches name requests and messages too: the next refresh links what is already in raw,
-- and gives the requests built so far the ratings they may have missed.
update ops.linked_seq set published_seq = 0;
delete from ops.model_state where model = 'int_llm_requests';
