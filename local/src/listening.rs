//! The ports of a run, all of them on 127.0.0.1: the same ones each time, as far as they are free.

use anyhow::{Context, Result};

use crate::ports::{Port, Ports};

/// A value for each port that interceptor, scaler and we listen on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortSet<T> {
    /// The interceptor's, for requests.
    pub proxy: T,
    /// The interceptor's, for probes, queue and reports.
    pub admin: T,
    /// The interceptor's, for metrics.
    pub metrics: T,
    /// The scaler's, for KEDA.
    pub scaler: T,
    /// The scaler's, for probes and metrics.
    pub scaler_metrics: T,
    /// Ours, for spans.
    pub otlp: T,
}

/// What the user asks for: `None` is the default port or, where it is in use, another one; 0 is any free port.
pub type WantedPorts = PortSet<Option<u16>>;

/// The ports in use.
pub type Listening = PortSet<u16>;

impl WantedPorts {
    /// Any free ports: for runs side by side.
    pub const ANY: Self = PortSet {
        proxy: Some(0),
        admin: Some(0),
        metrics: Some(0),
        scaler: Some(0),
        scaler_metrics: Some(0),
        otlp: Some(0),
    };
}

impl<T> PortSet<T> {
    fn zip<U, V>(self, other: PortSet<U>, mut combine: impl FnMut(T, U) -> Result<V>) -> Result<PortSet<V>> {
        Ok(PortSet {
            proxy: combine(self.proxy, other.proxy)?,
            admin: combine(self.admin, other.admin)?,
            metrics: combine(self.metrics, other.metrics)?,
            scaler: combine(self.scaler, other.scaler)?,
            scaler_metrics: combine(self.scaler_metrics, other.scaler_metrics)?,
            otlp: combine(self.otlp, other.otlp)?,
        })
    }
}

impl PortSet<Port> {
    pub(crate) fn numbers(&self) -> Listening {
        PortSet {
            proxy: self.proxy.number(),
            admin: self.admin.number(),
            metrics: self.metrics.number(),
            scaler: self.scaler.number(),
            scaler_metrics: self.scaler_metrics.number(),
            otlp: self.otlp.number(),
        }
    }
}

#[derive(Clone, Copy)]
struct Role {
    /// Its default port, counted from the first one.
    offset: u16,
    flag: &'static str,
    purpose: &'static str,
}

/// The default port for requests; the others follow it.
pub(crate) const FIRST: u16 = 8080;
const COUNT: u16 = 6;
/// How many ports after the default ones are tried in their place, before any free port is reserved.
const SPARE: u16 = 94;

const ROLES: PortSet<Role> = PortSet {
    proxy: role(0, "proxy-port", "requests go to"),
    admin: role(1, "admin-port", "the interceptor's admin pages are on"),
    metrics: role(2, "metrics-port", "the interceptor's metrics are on"),
    scaler: role(3, "scaler-port", "the scaler's gRPC is on"),
    scaler_metrics: role(4, "scaler-metrics-port", "the scaler's metrics are on"),
    otlp: role(5, "otlp-port", "spans go to"),
};

const fn role(offset: u16, flag: &'static str, purpose: &'static str) -> Role {
    Role { offset, flag, purpose }
}

/// The ports of a run, reserved so that no app gets one of them, and a sentence for each default port that is in use.
pub(crate) fn reserve(wanted: WantedPorts, first: u16, ports: &Ports) -> Result<(PortSet<Port>, Vec<String>)> {
    // Those that were asked for come first, so that no other role takes them by default.
    let asked_for = wanted.zip(ROLES, |wanted, role| match wanted {
        None => Ok(None),
        Some(0) => Ok(Some(any(ports)?)),
        Some(number) => ports
            .reserve(number)
            .map(Some)
            .with_context(|| format!("--{} {number}: cannot listen on the port", role.flag)),
    })?;
    let mut moved = Vec::new();
    let reserved = asked_for.zip(ROLES, |asked_for, role| match asked_for {
        Some(port) => Ok(port),
        None => {
            let default = first + role.offset;
            if let Ok(port) = ports.reserve(default) {
                return Ok(port);
            }
            let port = spare(first, ports)?;
            moved.push(format!(
                "port {default} is in use: {} port {} instead",
                role.purpose,
                port.number()
            ));
            Ok(port)
        }
    })?;
    Ok((reserved, moved))
}

fn spare(first: u16, ports: &Ports) -> Result<Port> {
    let spare = first + COUNT..first + COUNT + SPARE;
    match spare.into_iter().find_map(|number| ports.reserve(number).ok()) {
        Some(port) => Ok(port),
        None => any(ports),
    }
}

fn any(ports: &Ports) -> Result<Port> {
    ports.free().context("no port is free")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn listen(port: u16) -> std::io::Result<TcpListener> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
    }

    /// The first of enough free ports in a row: the default ones may be in use on this machine.
    fn first_of_a_free_row() -> u16 {
        let is_free = |first: &u16| (*first..*first + COUNT + 2).all(|port| listen(port).is_ok());
        (11_000..60_000).step_by(10).find(is_free).unwrap()
    }

    #[test]
    fn fault_c9_every_run_listens_on_the_default_ports_and_on_the_next_free_one_where_they_are_in_use() {
        let first = first_of_a_free_row();
        for _ in 0..2 {
            let (reserved, moved) = reserve(WantedPorts::default(), first, &Ports::default()).unwrap();
            let expected = PortSet {
                proxy: first,
                admin: first + 1,
                metrics: first + 2,
                scaler: first + 3,
                scaler_metrics: first + 4,
                otlp: first + 5,
            };
            assert_eq!((reserved.numbers(), moved.len()), (expected, 0));
        }
        let _other = (listen(first).unwrap(), listen(first + COUNT).unwrap());
        let (reserved, moved) = reserve(WantedPorts::default(), first, &Ports::default()).unwrap();
        assert_eq!(
            (reserved.proxy.number(), reserved.admin.number()),
            (first + 7, first + 1)
        );
        assert_eq!(
            moved,
            [format!(
                "port {first} is in use: requests go to port {} instead",
                first + 7
            )]
        );
    }

    #[test]
    fn a_port_that_is_asked_for_is_reserved_by_no_other_role_and_must_be_free() {
        let first = first_of_a_free_row();
        let ports = Ports::default();
        let wanted = WantedPorts {
            otlp: Some(first),
            ..WantedPorts::default()
        };
        let (reserved, moved) = reserve(wanted, first, &ports).unwrap();
        assert_eq!(reserved.otlp.number(), first);
        assert_eq!((reserved.proxy.number(), moved.len()), (first + COUNT, 1));
        drop(reserved);
        let _other = listen(first).unwrap();
        let error = reserve(wanted, first, &ports).unwrap_err();
        assert!(
            format!("{error:#}").starts_with(&format!("--otlp-port {first}: cannot listen on the port: ")),
            "{error:#}"
        );
    }

    #[test]
    fn zero_is_any_free_port() {
        let (reserved, moved) = reserve(WantedPorts::ANY, FIRST, &Ports::default()).unwrap();
        assert!(reserved.proxy.number() > 0 && moved.is_empty());
    }
}
