select
    ip_network,
    country_code,
    city
from {{ source('ops', 'ip_locations') }}
