//! Which overlays carry most: those move first, in mode `announce`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cluster::Group;
use engine::Engine;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use wire::Vni;

use super::inbox::Inbox;

/// How often that is looked at: sorting tens of thousands of overlays takes milliseconds.
const LOOK: Duration = Duration::from_secs(10);

/// Tells the rules again and again, until the engine is gone. `vnis` are those of the groups, in their order.
pub(super) async fn follow(vnis: Arc<[u32]>, engine: Weak<Engine>, inbox: Arc<Inbox>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Vec::new();
    loop {
        look.tick().await;
        let (vnis, engine) = (Arc::clone(&vnis), Weak::clone(&engine));
        let sort = move || Some(order(&vnis, &*engine.upgrade()?));
        // Not where sessions wait for it.
        let Ok(Some(order)) = spawn_blocking(sort).await else { return };
        if order != known {
            known.clone_from(&order);
            inbox.set_order(order);
        }
    }
}

fn order(vnis: &[u32], engine: &Engine) -> Vec<Group> {
    let overlays: Vec<Vni> = vnis.iter().filter_map(|&vni| Vni::new(vni)).collect();
    let place = |vni: Vni| vnis.binary_search(&vni.value()).ok();
    engine.busiest_first(&overlays).into_iter().filter_map(place).map(|place| Group(place as u32)).collect()
}
