{{
    config(
        meta={'touched': {'name_key': ['llm_name']}, 'touched_type': 'uuid'},
        indexes=[{'columns': ['name_key'], 'unique': True}],
        pre_hook=["{{ touch_names_of_changed_seeds() }}", "{{ touch_names_listed_or_not() }}"]
    )
}}

with

names as (
    select * from {{ ref('stg_llm_names') }}
    where {{ where_touched('name_key') }}
),

provider_rules as (
    select *, count(*) over (partition by place, provider, matched_by, alternative) as rule_count
    from {{ ref('llm_providers') }}
    union all
    select 1000000 as place, provider, 'provider' as matched_by, 1 as alternative, 'equals', provider_name, 1
    from {{ ref('llm_provider_names') }}
),

model_rules as (
    select *, count(*) over (partition by provider, place, alternative) as rule_count
    from {{ ref('llm_models') }}
),

-- as it is told; else, as routers write it, with the provider before a slash, which goes first if a router is named
attempts as (
    select
        name_key, 2 as attempt, nullif(nullif(trim(lower(provider)), 'litellm'), '') as provider_name,
        lower(model) as model_name
    from names
    union all
    select
        name_key, case when trim(lower(provider)) = 'litellm' then 1 else 3 end, split_part(lower(model), '/', 1),
        substr(lower(model), strpos(model, '/') + 1)
    from names
    where model like '%_/_%'
),

-- all rules of one alternative fit
fitting_providers as (
    select
        attempts.name_key, attempts.attempt, attempts.model_name, attempts.provider_name, rules.provider, rules.place
    from attempts
    inner join provider_rules as rules
        on rules.matched_by = case when attempts.provider_name is null then 'model' else 'provider' end
        and {{ name_fits(
            'rules.match_kind', 'rules.match_text', 'coalesce(attempts.provider_name, attempts.model_name)'
        ) }}
    group by
        attempts.name_key, attempts.attempt, attempts.model_name, attempts.provider_name,
        rules.place, rules.provider, rules.alternative, rules.rule_count
    having count(*) = rules.rule_count
),

found_providers as (
    select distinct on (name_key, attempt) name_key, attempt, model_name, provider_name, provider
    from fitting_providers
    order by name_key, attempt, place
),

-- a provider that is told is not put aside for one before a slash
spellings as (
    select found.name_key, found.attempt, found.provider, spelling.place as spelling, spelling.model_name
    from found_providers as found
    inner join names on found.name_key = names.name_key
    left join found_providers as told
        on found.name_key = told.name_key and told.attempt = 2 and told.provider_name is not null
    cross join
        lateral (
            values (1, found.model_name), (2, {{ with_dashed_date('found.model_name') }})
        ) as spelling (place, model_name)
    where
        found.attempt < 3
        or names.provider = ''
        or told.provider = found.provider
        or trim(lower(names.provider)) = 'litellm'
),

fitting_models as (
    select
        spellings.name_key, spellings.attempt, spellings.spelling, spellings.provider,
        rules.place, rules.price_provider, rules.model
    from spellings
    inner join model_rules as rules
        on spellings.provider = rules.provider
        and {{ name_fits('rules.match_kind', 'rules.match_text', 'spellings.model_name') }}
    group by
        spellings.name_key, spellings.attempt, spellings.spelling, spellings.provider,
        rules.place, rules.price_provider, rules.model, rules.alternative, rules.rule_count
    having count(*) = rules.rule_count
),

found_models as (
    select distinct on (name_key) name_key, provider, price_provider, model
    from fitting_models
    order by name_key, attempt, spelling, place
)

select
    -- ids
    names.name_key,
    names.provider,
    names.model,
    names.service_tier,

    -- what it means
    coalesce(found_models.price_provider, provider_alone.provider) as price_provider,
    found_models.model as price_model,
    coalesce(variants.variant, 'standard') as variant
from names
left join found_models on names.name_key = found_models.name_key
left join found_providers as provider_alone
    on names.name_key = provider_alone.name_key
    and found_models.name_key is null and provider_alone.attempt = 2
-- a provider that resells another's model has no variants of it
left join (select distinct provider, model, variant from {{ ref('llm_prices') }}) as variants
    on found_models.provider = variants.provider
    and found_models.price_provider = variants.provider
    and found_models.model = variants.model
    and lower(names.service_tier) = variants.variant
