{#
    Free text without e-mail addresses and card numbers: `[email]` and `[card]` stand in their place. A card number is
    16 digits, plain or in groups of four, or American Express's 15, that begin as one does. A run of JSON's escapes
    before an address is no part of it, so that JSON stays JSON. `within` is the text the column is
    cut from, asked in its place.
#}
{% macro scrubbed(column, within=none) -%}
    case
        -- most text has neither: the cheap question first
        when {{ within or column }} !~ '@|%40|[0-9]{4}[ -]?[0-9]{4}' then {{ column }}
        else regexp_replace(
            regexp_replace(
                {{ column }},
                '((?:\\u[0-9a-fA-F]{4}|\\.)*)[A-Za-z0-9._%+-]+(?:@|%40)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}',
                '\1[email]', 'g'
            ),
            {{ card_number() }}, '[card]', 'g'
        )
    end
{%- endmacro %}


{# Regular expression of a card number that stands alone. #}
{% macro card_number() -%}
    '(?<![0-9A-Za-z.])(?:(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|6011|65[0-9]{2})(?:[ -]?[0-9]{4}){3}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5})(?![0-9A-Za-z]|\.[0-9])'
{%- endmacro %}


{# jsonb, keys and values scrubbed; a card number that is a JSON number becomes null. #}
{% macro scrubbed_json(column) -%}
    case
        when {{ column }}::text !~ '@|%40|[0-9]{4}[ -]?[0-9]{4}' then {{ column }}
        else ({{ scrubbed("regexp_replace(" ~ column ~ "::text, '([:,[] ?)' || " ~ card_number() ~ " || '(?=[]},])', '\\1null', 'g')") }})::jsonb
    end
{%- endmacro %}


{#
    A URL, or a path with a query: parameters that the seed `query_parameters` does not list go, and so does a fragment
    that holds a parameter; what stays is scrubbed. URLs joined by chr(1) are done all at once.
#}
{% macro scrubbed_url(column) -%}
    case
        when strpos({{ column }}, '?') = 0 and strpos({{ column }}, '#') = 0 then {{ scrubbed(column) }}
        else {{ scrubbed(listed_parameters(column), within=column) }}
    end
{%- endmacro %}


{# A URL without the parameters that no row of the seed `query_parameters` names. #}
{% macro listed_parameters(column) -%}
    regexp_replace(
        regexp_replace(
            regexp_replace(
                regexp_replace({{ column }}, '#[^\x01=]*=[^\x01]*', '', 'g'),
                '([?&])(?!(?:' || (select string_agg(parameter, '|') from {{ ref('query_parameters') }}) || ')=)[^?&#\x01]*',
                '\1', 'g'
            ),
            '([?&])[?&]+', '\1', 'g'
        ),
        '[?&](?=#|\x01|$)', '', 'g'
    )
{%- endmacro %}


{# An array of URLs or paths, each scrubbed. #}
{% macro scrubbed_urls(column) -%}
    string_to_array({{ scrubbed_url("array_to_string(" ~ column ~ ", chr(1))") }}, chr(1))
{%- endmacro %}
