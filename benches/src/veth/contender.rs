//! Who is measured.

use std::fmt;
use std::path::Path;

use lab::{Gateway, Lab, Signal};
use port::Polling;
use port::xdp::Expected;
use vxgate_bench::frames::Shape;
use vxgate_bench::population::{Family, ROUTER_MAC};

use super::kernel;
use super::ovs::Ovs;
use super::reflector::Reflector;
use super::stage::{INSIDE, Stage, Task, endpoint};
use super::traffic::{self, FIRST_MAC, FIRST_STATION, FIRST_VNI, STATIONS};
use crate::Error;

/// What forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Swaps MAC addresses.
    Reflector,
    /// Ours: sleeps when there is nothing to do.
    Vxgate,
    /// Ours: never sleeps.
    VxgateBusy,
    /// Linux.
    Kernel,
    /// Open vSwitch's userspace datapath.
    Ovs,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reflector => "reflector",
            Self::Vxgate => "vxgate",
            Self::VxgateBusy => "vxgate (busy)",
            Self::Kernel => "kernel",
            Self::Ovs => "ovs",
        })
    }
}

/// Who goes first on a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// What the contender has in user space.
    Process,
    /// The kernel's thread that receives for it.
    Reception,
}

/// What is needed to keep it going.
#[derive(Debug)]
enum Running {
    Reflector(Box<Reflector>),
    Vxgate(Box<Gateway>),
    Kernel,
    Ovs(Box<Ovs>),
}

/// One of those who are measured, ready.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) overlays: u32,
    families: Vec<Family>,
    pub(crate) stage: Stage,
    /// Threads of the kernel that receive for it.
    pub(crate) reception: Vec<Task>,
    running: Running,
}

impl Contender {
    /// Sets one up with so many overlays, on a stage of its own.
    pub(crate) fn new(
        lab: &Lab,
        number: usize,
        kind: Kind,
        overlays: u32,
        families: &[Family],
        vxgate: &Path,
    ) -> Result<Self, Error> {
        let stage = Stage::new(lab, number)?;
        let running = match kind {
            Kind::Reflector => Running::Reflector(Box::new(Reflector::start(&stage)?)),
            Kind::Vxgate | Kind::VxgateBusy => {
                let polling = if kind == Kind::Vxgate { Polling::Adaptive } else { Polling::Busy };
                Running::Vxgate(Box::new(start_vxgate(&stage, overlays, polling, vxgate)?))
            }
            Kind::Kernel => {
                kernel::set_up(&stage, overlays, families)?;
                Running::Kernel
            }
            Kind::Ovs => Running::Ovs(Box::new(Ovs::start(&stage)?)),
        };
        let reception = stage.thread_reception(kind == Kind::Kernel)?;
        let mut contender = Self { kind, overlays, families: families.to_vec(), stage, reception, running };
        contender.rest()?;
        Ok(contender)
    }

    /// Whether it can forward frames of the shape.
    pub(crate) fn forwards(&self, shape: Shape) -> bool {
        self.families.contains(&shape.family)
    }

    /// Whether its rate with frames of the shape is measured. One that never sleeps shares its core with reception badly,
    /// and is there for its latency.
    pub(crate) fn is_overdriven_with(&self, shape: Shape) -> bool {
        self.kind != Kind::VxgateBusy && self.forwards(shape)
    }

    /// The process, or thread, that works in user space.
    pub(crate) fn process(&mut self) -> Option<Task> {
        match &mut self.running {
            Running::Reflector(reflector) => Some(Task::Thread(reflector.tid)),
            Running::Vxgate(gateway) => gateway.process().map(|process| Task::Process(process.pid())),
            Running::Kernel => None,
            Running::Ovs(ovs) => Some(ovs.process()),
        }
    }

    /// What comes out of it for frames of the shape.
    pub(crate) fn expected(&self, shape: Shape) -> Expected {
        match self.kind {
            Kind::Reflector => traffic::reflected(shape, &self.stage),
            _ => traffic::forwarded(shape, &self.stage),
        }
    }

    /// Decides who goes first on the contender's core.
    ///
    /// Under overload its process, if it sleeps when there is nothing to do: reception always has work then, and would
    /// fill rings that nobody empties. Else reception, as the interrupt of a NIC does.
    pub(crate) fn prefer(&mut self, first: First) -> Result<(), Error> {
        let sleeps = matches!(self.kind, Kind::Reflector | Kind::Vxgate);
        let process = self.process();
        for &task in &self.reception {
            task.go_first(first == First::Reception)?;
        }
        match process {
            Some(task) if sleeps => task.go_first(first == First::Process),
            _ => Ok(()),
        }
    }

    /// Stops it, so that it takes nothing of others' time.
    pub(crate) fn rest(&mut self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        match &mut self.running {
            Running::Vxgate(gateway) => match gateway.process() {
                Some(process) => Ok(process.signal(signal)?),
                None => Ok(()),
            },
            Running::Ovs(ovs) => ovs.signal(signal),
            Running::Reflector(_) | Running::Kernel => Ok(()),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.overlays)
    }
}

/// vxgate on the inside core, all its threads: as many overlays with two stations each.
fn start_vxgate(stage: &Stage, overlays: u32, polling: Polling, binary: &Path) -> Result<Gateway, Error> {
    let mut gateway = Gateway::new(&stage.gateway, binary);
    let vnis = format!("{FIRST_VNI}-{}", FIRST_VNI + overlays - 1);
    let endpoints = [Family::V4, Family::V6].map(|family| endpoint(family).to_string());
    gateway.configure(&format!(
        "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = [\"10.0.0.0/8\", \"fd00::/16\"]\nsocket = \"{}\"\n\
         cores = [{INSIDE}]\npolling = \"{polling}\"\n\n\
         [[port]]\ninterface = \"{}\"\nrole = \"underlay\"\n\n\
         [[port]]\ninterface = \"{}\"\nrole = \"uplink\"\n\n\
         [[overlay-block]]\nvnis = \"{vnis}\"\nipv4 = {{ range = \"10.0.0.0/8\", length = 24 }}\n\
         ipv6 = {{ range = \"fd00::/48\", length = 64 }}\nendpoints = {endpoints:?}\n\n\
         [[station-block]]\nvnis = \"{vnis}\"\nper-overlay = {STATIONS}\nfirst-mac = \"{FIRST_MAC}\"\n\
         first-address = {FIRST_STATION}\nendpoints = {endpoints:?}\n",
        gateway.socket().display(),
        stage.underlay.near,
        stage.uplink.near,
    ))?;
    gateway.start()?;
    if let Some(process) = gateway.process() {
        let pid = process.pid().to_string();
        stage.gateway.run("taskset", &["-acp", &INSIDE.to_string(), &pid])?;
    }
    Ok(gateway)
}
