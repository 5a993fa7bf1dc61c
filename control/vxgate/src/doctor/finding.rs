//! What the doctor says: a verdict, what it was found on, and what to do about it.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Could be better, or cannot be seen; the gateway works.
    Note,
    /// The gateway runs, and some traffic is lost, or it is much slower than it could be.
    Warning,
    /// The gateway does not run.
    Failure,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Topic {
    /// The configuration itself.
    Configuration,
    /// What the kernel offers.
    Kernel,
    /// Privileges and limits of this process.
    Process,
    /// Memory.
    Memory,
    /// Cores and clock.
    Cpu,
    /// One netdev.
    Port,
    /// MTUs of underlay, overlays and uplink.
    Mtu,
    /// Routes, neighbours, tunnels.
    Network,
}

impl Topic {
    /// As a heading.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Kernel => "Kernel",
            Self::Process => "Process",
            Self::Memory => "Memory",
            Self::Cpu => "CPU",
            Self::Port => "Ports",
            Self::Mtu => "MTU",
            Self::Network => "Network",
        }
    }
}

/// One result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) topic: Topic,
    /// What was looked at: a netdev, a block, "BPF JIT".
    pub(crate) subject: String,
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) finding: String,
    /// What to do; `None` if nothing is to be done.
    pub(crate) remedy: Option<String>,
}

/// Collects the findings of one topic.
pub(super) struct Findings<'a> {
    topic: Topic,
    all: &'a mut Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(topic: Topic, all: &'a mut Vec<Finding>) -> Self {
        Self { topic, all }
    }

    /// As it should be.
    pub(super) fn ok(&mut self, subject: &str, finding: impl Into<String>) {
        self.push(Verdict::Ok, subject, finding.into(), None);
    }

    /// Not as it should be.
    pub(super) fn bad(
        &mut self,
        verdict: Verdict,
        subject: &str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(verdict, subject, finding.into(), Some(remedy.into()));
    }

    fn push(&mut self, verdict: Verdict, subject: &str, finding: String, remedy: Option<String>) {
        self.all.push(Finding { topic: self.topic, subject: subject.into(), verdict, finding, remedy });
    }
}
