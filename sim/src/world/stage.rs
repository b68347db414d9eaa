//! Owns where the programs of a run live: all on one paused runtime beside the fabric, or each on its own
//! turmoil host.
//!
//! Invariant: a program is told the start of the run as a moment of the clock that it will see, so that every
//! event of a run is in one line of time.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use skep_engine::Now;
use skep_engine::node::spawn::Tasks;
use tokio::task::LocalSet;
use tokio::time::{Instant, Sleep};

use super::{Ended, World, now};
use crate::network::Net;
use crate::network::fabric::Fabric;
use crate::network::turmoil::Turmoil;
use crate::outcome::Outcome;
use crate::scenario::Plan;
use crate::scenario::plan::NetworkKind;
use crate::trace::Trace;
use crate::watch::Watchers;

/// Where the programs of a run live.
#[derive(Clone)]
pub(super) enum Stage {
    Fabric {
        fabric: Fabric,
        tasks: Rc<RefCell<Tasks>>,
        epoch: Instant,
    },
    Turmoil(Turmoil),
}

/// Runs a plan to its end, with or without a diary.
pub(super) fn run(plan: &Plan, watchers: Watchers, diary: bool) -> io::Result<Outcome> {
    let Watchers {
        lines,
        listeners,
        packets,
    } = watchers;
    let trace = Trace::new(lines).heard_by(listeners);
    match plan.network {
        NetworkKind::Fabric => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()?;
            LocalSet::new().block_on(&runtime, async {
                let epoch = Instant::now();
                let fabric = Fabric::new(plan.seed, epoch);
                if let Some(sink) = packets {
                    fabric.tap(sink);
                }
                let stage = Stage::Fabric {
                    fabric,
                    tasks: Rc::default(),
                    epoch,
                };
                let mut world = World::new(plan, trace, stage, diary);
                let ended = live(&mut world, epoch).await;
                world.judge(ended)
            })
        }
        NetworkKind::Turmoil => {
            if packets.is_some() {
                let text = "there is no capture of turmoil's traffic: it has no packets";
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
            let turmoil = Turmoil::new(plan.seed);
            let stage = Stage::Turmoil(turmoil.clone());
            let mut world = World::new(plan, trace, stage, diary);
            // Hosts take their turns within a tick: who comes later tells earlier moments.
            world.recorder.borrow_mut().hold();
            let ended = turmoil.run(|at| world.look(at));
            world.judge(ended)
        }
    }
}

impl Stage {
    pub(super) fn net(&self) -> Net {
        match self {
            Stage::Fabric { fabric, .. } => Net::Fabric(fabric.clone()),
            Stage::Turmoil(turmoil) => Net::Turmoil(turmoil.clone()),
        }
    }

    /// Lets a program run on a host from the start of the run.
    pub(super) fn program<F: Future<Output = ()> + 'static>(
        &self,
        what: &'static str,
        ip: Ipv4Addr,
        program: impl FnOnce(Instant) -> F + 'static,
    ) {
        match self {
            Stage::Fabric { tasks, epoch, .. } => tasks.borrow_mut().spawn(what, program(*epoch)),
            Stage::Turmoil(turmoil) => turmoil.program(what, ip, program),
        }
    }

    /// Every program is there.
    pub(super) fn begin(&self) {
        if let Stage::Fabric { fabric, tasks, .. } = self {
            let fabric = fabric.clone();
            let drive = async move { fabric.drive().await };
            tasks.borrow_mut().spawn("network", drive);
        }
    }
}

/// Lets a world on the fabric live until there is nothing left to wait for.
async fn live(world: &mut World, epoch: Instant) -> Ended {
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut look_at = Now::START;
    poll_fn(|cx| poll_live(world, epoch, cx, timer.as_mut(), &mut look_at)).await
}

fn poll_live(
    world: &mut World,
    epoch: Instant,
    cx: &mut Context<'_>,
    mut timer: Pin<&mut Sleep>,
    look_at: &mut Now,
) -> Poll<Ended> {
    if let Stage::Fabric { tasks, .. } = &world.stage {
        tasks.borrow_mut().poll_panics(cx);
    }
    let at = now(epoch);
    {
        let mut recorder = world.recorder.borrow_mut();
        // The runtime asks whenever any task was woken: that must cost nothing.
        if !std::mem::take(&mut recorder.changed) && at < *look_at {
            return Poll::Pending;
        }
        recorder.waker = Some(cx.waker().clone());
    }
    if let Some(ended) = world.look(at) {
        return Poll::Ready(ended);
    }
    let next = world.next_look(at);
    *look_at = next;
    timer.as_mut().reset(epoch + Duration::from_nanos(next.0));
    // A timer that is due already asks for another look.
    if timer.poll(cx).is_ready() {
        cx.waker().wake_by_ref();
    }
    Poll::Pending
}
