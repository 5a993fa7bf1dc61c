//! A program and the netdev that it is attached to.

use std::io;

use rustix::thread::CapabilitySet;

use super::XdpError;
use super::asm::Instruction;
use super::bpf::{Action, Link, LiveRun, LoadError, Program};
use crate::{XdpMode, XdpRequest};

/// Allows all helpers; the source is MIT or Apache-2.0, which includes MIT.
const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";

/// What may be refused, in errors.
const LOAD: &str = "load the XDP program";

/// A loaded program. Dropping it takes the program off its netdev.
#[derive(Debug)]
pub(super) struct Hook {
    program: Program,
    link: Option<Link>,
    native_refusal: Option<XdpError>,
}

impl Hook {
    /// Loads a program under a name of at most 15 bytes. Nothing changes on any netdev.
    pub(super) fn load(name: &str, text: &[Instruction]) -> Result<Self, XdpError> {
        let program = Program::load(name, LICENSE, text).map_err(|LoadError { source, log }| {
            // To less than CAP_PERFMON the verifier forbids what it takes for speculation, and then says EACCES.
            match source.raw_os_error() {
                Some(libc::EPERM) => XdpError::Privileges { action: LOAD, source },
                Some(libc::EACCES) if !has_perfmon() => XdpError::Privileges { action: LOAD, source },
                _ => XdpError::Load { source, log },
            }
        })?;
        Ok(Self { program, link: None, native_refusal: None })
    }

    /// As [`Classifier::attach`](super::Classifier::attach).
    pub(super) fn attach(
        &mut self,
        ifindex: u32,
        interface: &str,
        request: XdpRequest,
    ) -> Result<XdpMode, XdpError> {
        if self.link.is_some() {
            return Err(XdpError::AttachedAlready);
        }
        let (mode, link) = match request {
            XdpRequest::Native => self.link(ifindex, interface, XdpMode::Native)?,
            XdpRequest::Generic => self.link(ifindex, interface, XdpMode::Generic)?,
            XdpRequest::Auto => match self.link(ifindex, interface, XdpMode::Native) {
                Err(refusal @ XdpError::Attach { .. }) => {
                    let generic = self.link(ifindex, interface, XdpMode::Generic)?;
                    self.native_refusal = Some(refusal);
                    generic
                }
                result => result?,
            },
        };
        self.link = Some(link);
        Ok(mode)
    }

    fn link(&self, ifindex: u32, interface: &str, mode: XdpMode) -> Result<(XdpMode, Link), XdpError> {
        let link = self.program.link(ifindex, mode).map_err(|source| match source.raw_os_error() {
            // EEXIST: there is a program, in the other mode.
            Some(libc::EBUSY | libc::EEXIST) => {
                XdpError::HookInUse { interface: interface.to_owned(), source }
            }
            Some(libc::EPERM | libc::EACCES) => {
                XdpError::Privileges { action: "attach the XDP program", source }
            }
            _ => XdpError::Attach { interface: interface.to_owned(), mode, source },
        })?;
        Ok((mode, link))
    }

    pub(super) fn native_refusal(&self) -> Option<&XdpError> {
        self.native_refusal.as_ref()
    }

    /// As [`Classifier::run`](super::Classifier::run).
    pub(super) fn run(&self, frame: &[u8]) -> Result<Action, XdpError> {
        self.program.test_run(frame).map_err(XdpError::Run)
    }

    /// As [`Program::run_live`].
    pub(super) fn run_live(&self, template: &[u8], live: LiveRun) -> io::Result<()> {
        self.program.run_live(template, live)
    }
}

/// Whether the calling thread has CAP_PERFMON, or CAP_SYS_ADMIN that includes it.
fn has_perfmon() -> bool {
    let enough = CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.intersects(enough))
}
