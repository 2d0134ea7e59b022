-- Every number of members has a band.
select count(*) as bands
from {{ ref('workspace_sizes') }}
where members_up_to is null
having count(*) <> 1
