"""What happens without anybody sitting at a page: notifications, programs calling models, costs, requests."""

from decimal import Decimal

from ingest.sample.clock import AS_OF_MS, DAY, HOUR, MINUTE, SECOND, date_of, iso, weekday_of
from ingest.sample.context import Sample
from ingest.sample.incidents import COST_SPIKE, RUNAWAY_FEATURE, SIGN_IN_FAILURES, turned_away
from ingest.sample.tracking import feedback, request_record, track
from ingest.sample.truth import group_of
from ingest.sample.world import (
    DEFAULT_APP,
    EXPENSIVE_MODEL,
    FEATURES,
    IN_HOUSE_MODEL,
    Model,
    Person,
    arrivals,
    between,
    pick,
    pick_model,
)

MONITOR_EVERY = 17 * MINUTE
MONITOR_RUNS = 60 * HOUR
LAST_EVENT = AS_OF_MS - 5 * MINUTE


def user_events(sample: Sample, day_at: int, visitors: int) -> None:
    """Events of signed-up users through the server's helpers, outside any browser session."""
    users = [person for person in sample.people if person.user_id]
    for at in arrivals(sample.rng, day_at, visitors * 0.3):
        if turned_away(sample.rng, at) or at >= LAST_EVENT:
            continue
        person = pick(sample.rng, users)
        pick(sample.rng, (_notified, _notified, _signed_in, _resource_used, _connected, _marketed, _onboarded))(
            sample, person, at
        )


def program_requests(sample: Sample, day_at: int, visitors: int) -> None:
    """Programs of a few customers call models by key: requests of a user without a session."""
    users = [person for person in sample.people if person.user_id][: max(2, visitors // 12)]
    for at in arrivals(sample.rng, day_at, visitors * 0.25):
        if turned_away(sample.rng, at) or at >= LAST_EVENT:
            continue
        person, now = pick(sample.rng, users), at
        for _ in range(1 + between(sample.rng, 0, 2)):
            model = IN_HOUSE_MODEL if sample.chance(0.06) else pick_model(sample.rng)
            prompt, completion = 300 + between(sample.rng, 0, 6000), 40 + between(sample.rng, 0, 900)
            _request(sample, now, person, model, prompt, completion, pick(sample.rng, FEATURES))
            now += 1 + sample.milliseconds(1, 30)


def cost_spike(sample: Sample, visitors: int) -> None:
    """The planted hour in which one feature calls the dearest model in a loop."""
    owner = next(person for person in sample.people if person.user_id)
    count = max(80, visitors // 5)
    for number in range(count):
        at = COST_SPIKE.start + (COST_SPIKE.end - COST_SPIKE.start) * number // count + int(sample.rng.random() * 900)
        prompt, completion = 45_000 + between(sample.rng, 0, 20_000), 1500 + between(sample.rng, 0, 1500)
        _request(sample, at, owner, EXPENSIVE_MODEL, prompt, completion, RUNAWAY_FEATURE)


def sign_in_failures(sample: Sample, visitors: int) -> None:
    """The planted burst of failed sign-ins, over many accounts."""
    users = [person for person in sample.people if person.user_id]
    count = max(60, visitors // 20)
    length = SIGN_IN_FAILURES.end - SIGN_IN_FAILURES.start
    for number in range(count):
        at = SIGN_IN_FAILURES.start + length * number // count + int(sample.rng.random() * 1000)
        person = pick(sample.rng, users)
        track(sample, at, "sign_in_failed", "security", {"reason": "bad_password"}, person.user_id)


def monitor(sample: Sample, start: int) -> None:
    """A service account's health checks around the clock: one run, longer than a visit may be."""
    for at in range(start, min(start + MONITOR_RUNS, LAST_EVENT), MONITOR_EVERY):
        metadata = {"connectionId": "conn_monitor", "healthy": True, "latencyMs": 20 + between(sample.rng, 0, 80)}
        track(sample, at, "connection_health_check", "realtime", metadata, "service_monitor")


def nobodys_event(sample: Sample, at: int) -> None:
    """A web vital of a page without session or user: it has no id at all."""
    metadata = {"name": "LCP", "value": 1800 + between(sample.rng, 0, 3000), "delta": 12, "rating": "good"}
    track(sample, at, "web_vitals", "performance", metadata)


def without_consent(sample: Sample, day_at: int) -> None:
    """Somebody who did not consent, told by a page, a server and a browser all the same; none of it may count."""
    at, day = day_at + 10 * HOUR, date_of(day_at)
    who = {"sessionId": f"anon-private-{day}", "anonymousId": "private_visitor", "userId": "private_user"}
    viewed = {"eventName": "page_view", "pageUrl": "https://launch.example/launch", "timestamp": iso(at)}
    sample.delivery.send("events", {**who, **viewed, "eventId": f"private_{day}", "doNotTrack": True}, at)
    asked = {"requestId": f"private_{day}", "modelId": "gpt-4o", "provider": "openai", "inputTokens": 10, "cost": 5}
    asked["timestamp"] = iso(at)
    sample.delivery.send("llm_requests", {**who, **asked, "metadata": {"analyticsConsent": "denied"}}, at)
    batch = {"batchId": f"00000000-0000-4000-8000-{day_at // DAY:012}", "batchSeq": 0, "startedAt": iso(at)}
    batch |= {"pathSequence": ["/private"], "pathTimings": [0], "metadata": {"dnt": "1"}}
    sample.delivery.send("session_batches", {**who, **batch}, at)
    sample.truth.trap("without_consent", 3)


def other_streams(sample: Sample, day_at: int) -> None:
    """Identifies, costs that are no requests, and privacy requests; none of them changes the truth."""
    rng, delivery = sample.rng, sample.delivery
    morning = day_at + 6 * HOUR
    day = date_of(day_at)
    fixed = (("platform", "supabase", "database", "25.00"), ("hosting", "vercel", "edge", "8.40"))
    for number, (category, provider, service, amount) in enumerate(fixed):
        record = {
            "costId": f"c_{day}_{number}",
            "occurredAt": iso(day_at),
            "category": category,
            "provider": provider,
            "service": service,
            "amount": amount,
            "currency": "USD",
        }
        delivery.send("costs", record, morning)
    embedding = {
        "cost_id": f"c_{day}_e",
        "occurred_at": iso(day_at + 23 * HOUR),
        "category": "embedding",
        "provider": "openai",
        "service": "embeddings",
        "amount": str(Decimal(between(rng, 2000, 40_000)) / 10_000),
        "currency": "USD",
        "project_id": pick(rng, sample.people).project,
    }
    delivery.send("costs", embedding, day_at + 23 * HOUR)
    for _ in range(4):
        person = pick(rng, sample.people)
        if person.user_id:
            traits = {"email": person.email, "name": person.name, "role": person.role}
            traits["plan"] = person.workspace.plan
            record = {"userId": person.user_id, "properties": traits, "timestamp": iso(morning + between(rng, 0, HOUR))}
            delivery.send("identifies", record, morning + HOUR)
    if weekday_of(day_at) == 1:
        person = pick(rng, sample.people)
        asked = {"requestId": f"pr_{day}", "type": pick(rng, ("opt_out", "export", "erase", "opt_in"))}
        asked |= {"userId": person.user_id} if person.user_id else {"anonymousId": "fv_000001"}
        delivery.send("privacy_requests", {**asked, "requestedAt": iso(day_at + 9 * HOUR)}, day_at + 9 * HOUR)


def _request(sample: Sample, at: int, person: Person, model: Model, prompt: int, completion: int, feature: str) -> None:
    cached = prompt * 3 // 4 if sample.chance(0.15) else 0
    failed = sample.chance(0.02)
    if failed:
        completion = 0
    cost = model.cost(prompt, completion, cached)
    record = request_record(sample, at, model, prompt, completion, cost)
    record |= {
        "userId": person.user_id,
        "teamId": person.team,
        "projectId": person.project,
        "workspaceId": person.workspace.workspace_id,
        "featureId": feature,
        "statusCode": 500 if failed else 200,
    }
    if cached:
        record["cachedTokens"] = cached
    sample.delivery.send("llm_requests", record, at)
    group = group_of(None, None, person.user_id)
    sample.truth.llm(DEFAULT_APP, group, at, f"u:{person.user_id}", prompt + completion, cost)
    if sample.chance(0.12):
        feedback(sample, at + 30 * SECOND, record["requestId"])


def _notified(sample: Sample, person: Person, at: int) -> None:
    about = {
        "notificationId": f"n_{sample.rng.getrandbits(40):010x}",
        "notificationType": pick(sample.rng, ("session_reminder", "report_ready", "mention")),
        "channel": pick(sample.rng, ("push", "email", "in_app")),
    }
    if sample.chance(0.04):
        track(sample, at, "notification_delivery_failure", "notification", {**about, "reason": "gone"}, person.user_id)
        return
    track(sample, at, "notification_delivered", "notification", about, person.user_id)
    if sample.chance(0.5):
        seconds = 2 + between(sample.rng, 0, 240)
        name = "notification_clicked" if sample.chance(0.6) else "notification_dismissed"
        later = {**about, "timeSinceDeliverySeconds": seconds}
        track(sample, at + seconds * SECOND, name, "notification", later, person.user_id)


def _signed_in(sample: Sample, person: Person, at: int) -> None:
    """A sign-in on a device without the web app; one in twelve fails at first."""
    if sample.chance(0.08):
        track(sample, at, "sign_in_failed", "security", {"reason": "bad_password"}, person.user_id)
        at += 20 * SECOND
    track(sample, at, "sign_in_succeeded", "security", {"method": "password"}, person.user_id)
    if person.index % 3 == 0:
        outcome = "failed" if sample.chance(0.05) else "succeeded"
        track(sample, at + 9 * SECOND, f"mfa_verification_{outcome}", "security", {"method": "totp"}, person.user_id)


def _resource_used(sample: Sample, person: Person, at: int) -> None:
    about = {"resourceId": f"r_{between(sample.rng, 1, 60)}", "resourceType": pick(sample.rng, ("pdf", "video"))}
    seen = {**about, "viewDurationSeconds": between(sample.rng, 5, 600), "scrollDepthPercent": 75}
    track(sample, at, "resource_viewed", "resource", seen, person.user_id)
    if sample.chance(0.3):
        track(sample, at + 40 * SECOND, "resource_downloaded", "resource", about, person.user_id)


def _connected(sample: Sample, person: Person, at: int) -> None:
    about = {"connectionId": f"conn_{sample.rng.getrandbits(32):08x}", "transport": "websocket"}
    track(sample, at, "connection_attempt", "realtime", about, person.user_id)
    if sample.chance(0.95):
        milliseconds = 20 + between(sample.rng, 0, 300)
        track(sample, at + milliseconds, "connection_established", "realtime", about, person.user_id)
    else:
        track(sample, at + 900, "fallback_polling_activated", "realtime", about, person.user_id)


def _marketed(sample: Sample, person: Person, at: int) -> None:
    if sample.chance(0.3):
        metadata = {"conversionType": "trial", "conversionValue": 0, "source": "google", "campaign": "summer_trial"}
        track(sample, at, "campaign_conversion", "marketing", metadata, person.user_id)
    else:
        metadata = {"experimentId": "pricing_test_v2", "variantId": person.variant}
        track(sample, at, "experiment_view", "marketing", metadata, person.user_id)


def _onboarded(sample: Sample, person: Person, at: int) -> None:
    step = 1 + between(sample.rng, 0, 4)
    about = {"step": f"step_{step}", "stepNumber": step, "totalSteps": 5}
    track(sample, at, "onboarding_step_started", "onboarding", about, person.user_id)
    if sample.chance(0.7):
        seconds = between(sample.rng, 10, 180)
        done = {**about, "timeSpentSeconds": seconds, "interactionCount": between(sample.rng, 1, 20)}
        track(sample, at + seconds * SECOND, "onboarding_step_completed", "onboarding", done, person.user_id)
