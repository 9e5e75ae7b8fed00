//! Whether all is well: asked again and again while things go wrong, and looked into at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use infinicache_wire::{
    InstanceId,
    control::{Located, NodeState, PoolStatus},
};
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::{sleep, timeout};

use crate::{
    clients::{self, FILLERS, KEYS},
    history::{Completion, Invocation, name},
    pages,
    redis::Redis,
    world::{Run, WAKES, World},
};

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a member may be silent that is well.
const SILENCE_MS: u64 = 2_500;

/// Why the pool is not as it should be, as far as its newest proxy knows.
pub(crate) async fn unsettled(world: &World) -> Option<String> {
    let Some(run) = world.newest() else {
        return Some("there is no proxy".into());
    };
    if run.process.is_frozen() {
        return Some("the proxy is frozen".into());
    }
    match timeout(PATIENCE, look(world, &run)).await {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some("the proxy does not answer".into()),
    }
}

async fn look(world: &World, run: &Run) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let (status, page) = pages::get(run.admin(), "/readyz").await.map_err(text)?;
    if status != 200 {
        let line = page.lines().last().unwrap_or_default();
        return Err(format!("not ready: {line}"));
    }
    let figures = pages::figures(run.admin()).await.map_err(text)?;
    let figure = |name: &str| figures.get(&format!("infinicache_proxy_{name}")).copied();
    for zero in ["objects_degraded", "tombstones"] {
        match figure(zero) {
            Some(0) => {}
            figure => return Err(format!("{zero} {figure:?}")),
        }
    }
    let mut redis = Redis::connect(run.redis()).await.map_err(text)?;
    let view = view(&mut redis).await?;
    let mut members = 0;
    let well: BTreeSet<InstanceId> = {
        let state = world.state();
        let well = state
            .instances
            .values()
            .filter(|it| !it.process.is_frozen());
        well.filter_map(|it| it.identity.get().copied()).collect()
    };
    for node in &view.nodes {
        if node.member.is_none() {
            continue;
        }
        members += 1;
        let is_well = node.state == NodeState::Active
            && node.heard_ms.is_some_and(|it| it < SILENCE_MS)
            && node.instance.is_some_and(|it| well.contains(&it));
        if !is_well {
            return Err(format!(
                "node {} is {:?}, heard {:?}",
                node.name, node.state, node.heard_ms
            ));
        }
    }
    if figure("view_members") != Some(members) {
        return Err(format!("{:?} members of {members}", figure("view_members")));
    }
    Ok(())
}

async fn view(redis: &mut Redis) -> Result<PoolStatus, String> {
    match redis.ask(&[b"IC.NODES"]).await {
        Ok(BytesFrame::BulkString(json)) => {
            serde_json::from_slice(&json).map_err(|it| it.to_string())
        }
        other => Err(format!("{other:?}")),
    }
}

/// Reads every key once more, and compares what nodes hold with what they should.
pub(crate) async fn look_at_everything(world: &Arc<World>) {
    let reader = clients::reader();
    let reading = world.clone();
    let read = reader.spawn(async move { read_everything(&reading).await });
    read.await.expect("nobody ends the reader");
    // What has expired meanwhile takes its time to go.
    let mut found = Vec::new();
    for _ in 0..40 {
        let looking = world.clone();
        found = match reader.spawn(async move { leftovers(&looking).await }).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => vec![error],
            Err(error) => vec![error.to_string()],
        };
        if found.is_empty() {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
    world.history().violations.extend(found);
}

async fn read_everything(world: &World) {
    let mut connection = None;
    for key in 0..KEYS + FILLERS {
        let mut is_read = false;
        // A link may be found broken only when it is used.
        for _ in 0..20 {
            let answer = clients::ask(world, 9, &mut connection, Invocation::Get { key }).await;
            is_read = matches!(answer, Completion::Value(_) | Completion::Absent);
            if is_read {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        if !is_read {
            world.violation(format!("key {key} cannot be read although all is well"));
        }
    }
}

/// Where nodes hold another number of chunks than the metadata lists.
async fn leftovers(world: &World) -> Result<Vec<String>, String> {
    let run = world.newest().ok_or("there is no proxy")?;
    let text = |error: std::io::Error| error.to_string();
    let mut redis = Redis::connect(run.redis()).await.map_err(text)?;
    let view = view(&mut redis).await?;
    let mut listed: BTreeMap<_, u64> = BTreeMap::new();
    for key in 0..KEYS + FILLERS {
        match redis.ask(&[b"IC.LOCATE", name(key).as_bytes()]).await {
            Ok(BytesFrame::Null) => {}
            Ok(BytesFrame::BulkString(json)) => {
                let located: Located =
                    serde_json::from_slice(&json).map_err(|it| it.to_string())?;
                let holders: BTreeSet<_> = located.members.iter().flatten().collect();
                if holders.len() < located.members.len() {
                    let members = &located.members;
                    return Err(format!(
                        "key {key} lacks a chunk, or two are in one place: {members:?}"
                    ));
                }
                for member in located.members.into_iter().flatten() {
                    *listed.entry(member).or_default() += 1;
                }
            }
            other => return Err(format!("{other:?}")),
        }
    }
    let mut found = Vec::new();
    let instances: Vec<_> = world.state().instances.values().cloned().collect();
    for instance in instances {
        let address = SocketAddr::new(instance.process.address(), WAKES);
        let figures = pages::figures(address).await.map_err(text)?;
        let held = figures.get("infinicache_node_chunks").copied();
        let node = view
            .nodes
            .iter()
            .find(|it| it.name == crate::world::name_of(instance.name));
        // One that is no member is nothing to this pool: it goes, or is emptied when it is woken.
        let Some(member) = node.and_then(|it| it.member) else {
            continue;
        };
        let listed = listed.get(&member).copied().unwrap_or(0);
        if held != Some(listed) {
            found.push(format!(
                "node {} holds {held:?} chunks, {listed} are listed for {member:?}",
                instance.id
            ));
        }
    }
    Ok(found)
}
