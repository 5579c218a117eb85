//! Connections that the kernel remembers. UDP has none: who sends again and again is one to the kernel, and goes where the
//! first packet went, whatever the rules say since. So whoever publishes a port of UDP has such senders forgotten that are
//! on the way to nobody, or to a container of before (moby#8795).

use std::net::IpAddr;

use netlink_bindings::conntrack::{IterableTupleAttrs, Nfgenmsg, OpGetDo, Request};
use netlink_bindings::traits::{NetlinkRequest, Protocol as Wire};
use netlink_socket2::NetlinkSocket;

use super::netlink::Netlink;
use super::plan::Published;
use crate::base::{Context as _, Result};
use crate::model::network::Protocol;

/// `NETLINK_NETFILTER`.
const NETFILTER: u16 = 12;
/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE`, which the bindings have not.
const DELETE: u16 = (1 << 8) | 2;

/// One way of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    protocol: u8,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
}

/// Has senders forgotten that do not go to where a port of UDP leads.
///
/// # Errors
/// What the kernel gives; one that remembers nothing has nothing to forget.
pub fn forget_strays(published: &[Published]) -> Result<()> {
    let udp: Vec<&Published> = published.iter().filter(|one| one.port.protocol == Protocol::Udp).collect();
    if udp.is_empty() {
        return Ok(());
    }
    let own = Netlink::open()?.addresses()?;
    let mut socket = NetlinkSocket::new();
    let mut strays = Vec::new();
    {
        let request = Request::new().op_get_dump(&Default::default());
        let Ok(mut replies) = socket.request(&request) else { return Ok(()) };
        while let Some(Ok((_, connection))) = replies.recv() {
            let ways =
                (connection.get_tuple_orig().ok().and_then(way), connection.get_tuple_reply().ok().and_then(way));
            let (Some(there), Some(back)) = ways else { continue };
            let goes_astray = |one: &&Published| {
                let at = if one.port.host_ip.is_unspecified() {
                    own.contains(&there.to.0)
                } else {
                    there.to.0 == one.port.host_ip
                };
                there.protocol == one.port.protocol.number()
                    && there.to.1 == one.port.host_port
                    && there.to.0.is_ipv4() == one.to.is_ipv4()
                    && at
                    && back.from != (one.to, one.port.container_port)
            };
            if udp.iter().any(goes_astray) {
                strays.push((there, connection.get_zone().unwrap_or(0)));
            }
        }
    }
    for (way, zone) in strays {
        let answer = socket.request(&delete(&way, zone)).context(|| "forgetting a connection")?.recv_ack();
        // One that ended meanwhile is forgotten.
        if let Err(error) = answer
            && error.as_io_error().kind() != std::io::ErrorKind::NotFound
        {
            return Err(crate::base::Error::failed(error.to_string()).context("forgetting a connection"));
        }
    }
    Ok(())
}

fn way(tuple: IterableTupleAttrs<'_>) -> Option<Way> {
    let (ip, protocol) = (tuple.get_tuple_ip().ok()?, tuple.get_tuple_proto().ok()?);
    let (from, to) = match (ip.get_ip_v4_src(), ip.get_ip_v4_dst()) {
        (Ok(from), Ok(to)) => (IpAddr::V4(from), IpAddr::V4(to)),
        _ => (IpAddr::V6(ip.get_ip_v6_src().ok()?), IpAddr::V6(ip.get_ip_v6_dst().ok()?)),
    };
    let ports = (protocol.get_proto_src_port().ok()?, protocol.get_proto_dst_port().ok()?);
    Some(Way { protocol: protocol.get_proto_num().ok()?, from: (from, ports.0), to: (to, ports.1) })
}

/// Forgets the connection that goes this way.
struct Delete<'a>(OpGetDo<'a>);

fn delete(way: &Way, zone: u16) -> Delete<'static> {
    // AF_INET, AF_INET6
    let header = Nfgenmsg { nfgen_family: if way.to.0.is_ipv4() { 2 } else { 10 }, ..Default::default() };
    let mut request = Request::new().op_get_do(&header);
    {
        let tuple = request.encode().nested_tuple_orig();
        let ip = tuple.nested_tuple_ip();
        let ip = match (way.from.0, way.to.0) {
            (IpAddr::V6(from), IpAddr::V6(to)) => ip.push_ip_v6_src(from).push_ip_v6_dst(to),
            (IpAddr::V4(from), IpAddr::V4(to)) => ip.push_ip_v4_src(from).push_ip_v4_dst(to),
            _ => ip,
        };
        let protocol = ip.end_nested().nested_tuple_proto().push_proto_num(way.protocol);
        let protocol = protocol.push_proto_src_port(way.from.1).push_proto_dst_port(way.to.1);
        let attributes = protocol.end_nested().end_nested();
        if zone != 0 {
            attributes.push_zone(zone);
        }
    }
    Delete(request)
}

impl NetlinkRequest for Delete<'_> {
    fn protocol(&self) -> Wire {
        Wire::Raw { protonum: NETFILTER, request_type: DELETE }
    }

    fn flags(&self) -> u16 {
        self.0.flags()
    }

    fn payload(&self) -> &[u8] {
        self.0.payload()
    }

    type ReplyType<'buf> = ();

    fn decode_reply(_: &[u8]) -> Self::ReplyType<'_> {}
}
