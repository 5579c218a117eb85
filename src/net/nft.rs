//! nf_tables: changes as data, and one atomic batch of them sent to the kernel. No program and no C library is involved.
//!
//! What the expressions and registers are is the kernel's language (include/uapi/linux/netfilter/nf_tables.h); what rules
//! there are is [`super::plan`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io;

use netlink_bindings::nftables::{Chained, ChainedFinal, Nfgenmsg, Request, SetelemListElemAttrs};
use netlink_bindings::traits::{NetlinkChained, NetlinkRequest};
use netlink_socket2::NetlinkSocket;

use crate::base::{Error, Result};

/// `NFPROTO_INET`: tables for IPv4 and IPv6 together.
const INET: u8 = 1;
/// `NFNL_SUBSYS_NFTABLES`, which a batch is for.
const SUBSYSTEM: u16 = 10;
/// `NFT_SET_MAP`.
const MAP: u32 = 8;
/// Bits of one type in the type of a concatenation (nft's datatype.h, `TYPE_BITS`).
const TYPE_BITS: u32 = 6;

/// One step of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A table, unless it is there.
    Table,
    /// Take the table away with everything in it.
    DeleteTable,
    /// A chain, unless it is there.
    Chain {
        /// Its name.
        name: &'static str,
        /// Where packets enter it; none is a chain to be jumped to.
        hook: Option<Hook>,
    },
    /// Take all rules out of a chain.
    Flush(&'static str),
    /// A map, unless it is there.
    Map {
        /// Its name.
        name: &'static str,
        /// What is looked up.
        key: Vec<Field>,
        /// What is found.
        data: Vec<Field>,
    },
    /// A rule at the end of a chain.
    Rule(&'static str, Vec<Expression>),
    /// An element of a map.
    Insert(Element),
    /// Take an element out of a map.
    Delete(Element),
}

/// Where a chain is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// The hook's number.
    pub number: u32,
    /// Its turn.
    pub priority: i32,
}

/// An element of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The map.
    pub map: &'static str,
    /// What is looked up, each field padded to four bytes.
    pub key: Vec<u8>,
    /// What is found, likewise.
    pub data: Vec<u8>,
}

/// A part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// An IPv4 address.
    Ip4,
    /// An IPv6 address.
    Ip6,
    /// A transport protocol.
    Protocol,
    /// A port.
    Port,
}

impl Field {
    /// nft's number for the type, which only listings use, and its padded length.
    fn kind_and_length(self) -> (u32, u32) {
        match self {
            Field::Ip4 => (7, 4),
            Field::Ip6 => (8, 16),
            Field::Protocol => (12, 4),
            Field::Port => (13, 4),
        }
    }
}

fn type_and_length(fields: &[Field]) -> (u32, u32) {
    fields
        .iter()
        .map(|field| field.kind_and_length())
        .fold((0, 0), |(kind, length), (one, bytes)| ((kind << TYPE_BITS) | one, length + bytes))
}

/// A part of a rule. Registers are numbered in words of four bytes from 0 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads a fact about the packet.
    Meta {
        /// Which.
        key: Meta,
        /// Into which register.
        register: u32,
    },
    /// Loads a fact about the connection.
    Ct {
        /// Which.
        key: Ct,
        /// Into which register.
        register: u32,
    },
    /// Loads bytes of the network header (`transport` false) or the transport header.
    Payload {
        /// Of the transport header, not the network's.
        transport: bool,
        /// From where on.
        offset: u32,
        /// How many.
        length: u32,
        /// Into which register.
        register: u32,
    },
    /// Loads the type of the destination address.
    DestinationType {
        /// Into which register.
        register: u32,
    },
    /// Keeps the bits of a mask.
    Mask {
        /// Of which register.
        register: u32,
        /// The bits that stay.
        mask: Vec<u8>,
    },
    /// Goes on when the register is equal, or with `not` when it is not.
    Compare {
        /// The register.
        register: u32,
        /// When it differs.
        not: bool,
        /// What with.
        value: Vec<u8>,
    },
    /// Goes on when a map has the key in `from`; what is found is put into `to`.
    Lookup {
        /// The map.
        map: &'static str,
        /// The first register of the key.
        from: u32,
        /// The first register of what is found.
        to: u32,
    },
    /// Changes the destination to the address and port in registers.
    Dnat {
        /// Of an IPv6 packet.
        v6: bool,
        /// The register of the address.
        address: u32,
        /// The register of the port.
        port: u32,
    },
    /// Changes the source to the address of the interface that the packet leaves by.
    Masquerade,
    /// Ends this chain for the packet.
    Accept,
    /// Ends the packet.
    Drop,
    /// Goes on in another chain.
    Jump(&'static str),
}

/// Facts about a packet (`enum nft_meta_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// Name of the interface that it came by.
    InName = 6,
    /// Name of the interface that it leaves by.
    OutName = 7,
    /// IPv4 or IPv6.
    Family = 15,
    /// The transport protocol.
    Protocol = 16,
    /// The group of the interface that it came by.
    InGroup = 21,
    /// The group of the interface that it leaves by.
    OutGroup = 22,
}

/// Facts about a connection (`enum nft_ct_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ct {
    /// New, established, …
    State = 0,
    /// What was done to it.
    Status = 2,
}

/// What the kernel calls a word register: `NFT_REG32_00` and those behind it.
fn word(register: u32) -> u32 {
    8 + register
}

/// A connection that changes went over. To close it as soon as something was taken away waits for a grace period of the
/// kernel's locks, some milliseconds; a moment later it does not. Whoever has something else to do keeps it meanwhile.
#[must_use]
pub struct Sent(#[expect(dead_code, reason = "it is there to be closed later")] Option<NetlinkSocket>);

impl Sent {
    /// Of nothing.
    pub const NOTHING: Sent = Sent(None);
}

/// Applies all changes to a table, or none.
///
/// # Errors
/// `permission_denied`; `unsupported` when the kernel has no nf_tables; `not_found` when something to be taken away or
/// added to is not there; `failed` for the rest.
pub fn apply(table: &str, changes: &[Change]) -> Result<()> {
    send(table, changes).map(drop)
}

/// As [`apply`], with the connection still open.
///
/// # Errors
/// As [`apply`].
pub fn send(table: &str, changes: &[Change]) -> Result<Sent> {
    if changes.is_empty() {
        return Ok(Sent::NOTHING);
    }
    let name = CString::new(table).map_err(|_| Error::invalid("the name of a table contains a zero byte"))?;
    let mut socket = NetlinkSocket::new();
    let mut batch = Chained::new(socket.reserve_seq(changes.len() as u32 + 2));
    let mut frame = Nfgenmsg::new();
    frame._res_id_be = SUBSYSTEM.to_be();
    batch.request().op_batch_begin_do(&frame);
    for (number, change) in changes.iter().enumerate() {
        encode(batch.request(), &name, change, number as u32 + 1);
    }
    batch.request().op_batch_end_do(&frame);
    let batch = Quiet::new(batch.finalize(), changes.len());
    let sent = socket.request_chained(&batch).map_err(|error| refused(table, &error, &error.to_string()))?.recv_all();
    sent.map_err(|error| refused(table, error.as_io_error(), &error.to_string()))?;
    Ok(Sent(Some(socket)))
}

/// A batch of which only the last change is answered when all is well: with an answer to each, those to many changes would
/// not fit into the socket's buffer. Errors come for every one.
struct Quiet<'a> {
    batch: ChainedFinal<'a>,
    bytes: Vec<u8>,
    last: usize,
}

impl<'a> Quiet<'a> {
    /// `last` is the index of the last change; the first message is the batch's own.
    fn new(batch: ChainedFinal<'a>, last: usize) -> Quiet<'a> {
        // struct nlmsghdr: length, type, flags (NLM_F_ACK); messages begin at multiples of four (netlink(7)).
        const ACK: u16 = 4;
        let mut bytes = batch.payload().to_vec();
        let (mut at, mut index) = (0, 0);
        while let Some(header) = bytes.get_mut(at..at + 8) {
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let flags = u16::from_ne_bytes([header[6], header[7]]);
            if index != last {
                header[6..8].copy_from_slice(&(flags & !ACK).to_ne_bytes());
            }
            at += length.max(8).next_multiple_of(4);
            index += 1;
        }
        Quiet { batch, bytes, last }
    }
}

impl NetlinkChained for Quiet<'_> {
    fn protonum(&self) -> u16 {
        self.batch.protonum()
    }

    fn payload(&self) -> &[u8] {
        &self.bytes
    }

    fn chain_len(&self) -> usize {
        self.batch.chain_len()
    }

    fn get_index(&self, seq: u32) -> Option<usize> {
        NetlinkChained::get_index(&self.batch, seq)
    }

    fn name(&self, index: usize) -> &'static str {
        self.batch.name(index)
    }

    fn lookup(&self, index: usize) -> netlink_bindings::traits::LookupFn {
        self.batch.lookup(index)
    }

    fn supports_ack(&self, index: usize) -> Option<bool> {
        (index < self.chain_len()).then_some(index == self.last)
    }
}

fn refused(table: &str, error: &io::Error, text: &str) -> Error {
    let doing = format!("changing the table {table:?} of nf_tables: {text}");
    match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(doing),
        io::ErrorKind::AlreadyExists => Error::already_exists(doing),
        io::ErrorKind::PermissionDenied => Error::permission_denied(doing),
        _ if matches!(error.raw_os_error(), Some(EPROTONOSUPPORT | EOPNOTSUPP)) => {
            Error::unsupported(doing).with_hint("the kernel needs nf_tables")
        }
        _ => Error::failed(doing),
    }
}

const EPROTONOSUPPORT: i32 = 93;
const EOPNOTSUPP: i32 = 95;

fn text(name: &str) -> CString {
    CString::new(name).expect("names of ours have no zero byte")
}

fn encode(request: Request<'_>, table: &CString, change: &Change, number: u32) {
    let mut header = Nfgenmsg::new();
    header.nfgen_family = INET;
    match change {
        Change::Table => {
            request.set_create().op_newtable_do(&header).encode().push_name(table);
        }
        Change::DeleteTable => {
            request.op_deltable_do(&header).encode().push_name(table);
        }
        Change::Chain { name, hook } => {
            let mut operation = request.set_create().op_newchain_do(&header);
            let chain = operation.encode().push_table(table).push_name(&text(name));
            if let Some(hook) = hook {
                chain
                    .nested_hook()
                    .push_num(hook.number)
                    .push_priority(hook.priority)
                    .end_nested()
                    .push_type(&text(hook.kind));
            }
        }
        Change::Flush(chain) => {
            request.op_delrule_do(&header).encode().push_table(table).push_chain(&text(chain));
        }
        Change::Map { name, key, data } => {
            let ((key_type, key_length), (data_type, data_length)) = (type_and_length(key), type_and_length(data));
            let mut operation = request.set_create().op_newset_do(&header);
            let map = operation.encode().push_table(table).push_name(&text(name)).push_flags(MAP);
            let map = map.push_key_type(key_type).push_key_len(key_length);
            map.push_data_type(data_type).push_data_len(data_length).push_id(number);
        }
        Change::Rule(chain, expressions) => {
            let mut operation = request.set_create().set_append().op_newrule_do(&header);
            let mut list = operation.encode().push_table(table).push_chain(&text(chain)).nested_expressions();
            for expression in expressions {
                let element = list.nested_elem();
                list = match expression {
                    Expression::Meta { key, register } => {
                        let data = element.nested_data_meta().push_dreg(word(*register)).push_key(*key as u32);
                        data.end_nested().end_nested()
                    }
                    Expression::Ct { key, register } => {
                        let data = element.nested_data_ct().push_dreg(word(*register)).push_key(*key as u32);
                        data.end_nested().end_nested()
                    }
                    Expression::Payload { transport, offset, length, register } => {
                        let data = element.nested_data_payload().push_dreg(word(*register));
                        // NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER
                        let data = data.push_base(if *transport { 2 } else { 1 });
                        data.push_offset(*offset).push_len(*length).end_nested().end_nested()
                    }
                    Expression::DestinationType { register } => {
                        // NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR
                        let data = element.nested_data_fib().push_dreg(word(*register)).push_result(3).push_flags(2);
                        data.end_nested().end_nested()
                    }
                    Expression::Mask { register, mask } => {
                        let data = element.nested_data_bitwise().push_sreg(word(*register)).push_dreg(word(*register));
                        let data = data.push_len(mask.len() as u32).nested_mask().push_value(mask).end_nested();
                        let zero = vec![0; mask.len()];
                        data.nested_xor().push_value(&zero).end_nested().end_nested().end_nested()
                    }
                    Expression::Compare { register, not, value } => {
                        let data = element.nested_data_cmp().push_sreg(word(*register)).push_op(u32::from(*not));
                        data.nested_data().push_value(value).end_nested().end_nested().end_nested()
                    }
                    Expression::Lookup { map, from, to } => {
                        // The specification that the bindings are made from has these attributes in another order than
                        // the kernel's header, where 2 is the source and 3 the destination register.
                        let data = element.nested_data_lookup().push_set(&text(map)).push_set_id(word(*from));
                        data.push_sreg(word(*to)).end_nested().end_nested()
                    }
                    Expression::Dnat { v6, address, port } => {
                        // NFT_NAT_DNAT; AF_INET, AF_INET6
                        let data = element.nested_data_nat().push_type(1).push_family(if *v6 { 10 } else { 2 });
                        let data = data.push_reg_addr_min(word(*address)).push_reg_proto_min(word(*port));
                        data.end_nested().end_nested()
                    }
                    Expression::Masquerade => element.push_name(c"masq").end_nested(),
                    Expression::Accept | Expression::Drop | Expression::Jump(_) => {
                        let data = element.nested_data_immediate().push_dreg(0).nested_data().nested_verdict();
                        let verdict = match expression {
                            Expression::Accept => data.push_code(1),
                            Expression::Jump(chain) => data.push_code(-3_i32 as u32).push_chain(&text(chain)),
                            _ => data.push_code(0),
                        };
                        verdict.end_nested().end_nested().end_nested().end_nested()
                    }
                };
            }
        }
        Change::Insert(Element { map, key, data }) => {
            let mut operation = request.set_create().op_newsetelem_do(&header);
            let list = operation.encode().push_table(table).push_set(&text(map)).nested_elements().nested_elem();
            list.nested_key().push_value(key).end_nested().nested_data().push_value(data).end_nested();
        }
        Change::Delete(Element { map, key, .. }) => {
            let mut operation = request.op_delsetelem_do(&header);
            let list = operation.encode().push_table(table).push_set(&text(map)).nested_elements().nested_elem();
            list.nested_key().push_value(key).end_nested();
        }
    }
}

/// How many rules each chain of a table has.
///
/// # Errors
/// `not_found` when there is no such table; what the kernel gives.
pub fn count_rules(table: &str) -> Result<BTreeMap<String, usize>> {
    let (name, header) = of_table(table)?;
    let mut counts = BTreeMap::new();
    let mut request = Request::new().op_getchain_dump(&header);
    request.encode().push_table(&name);
    list(table, &request, |(_, chain)| {
        // The kernel gives the chains of all tables.
        if let (Ok(of), Ok(chain)) = (chain.get_table(), chain.get_name())
            && of == name.as_c_str()
        {
            counts.insert(chain.to_string_lossy().into_owned(), 0);
        }
    })?;
    if counts.is_empty() {
        return Err(Error::not_found(format!("there is no table {table:?} of nf_tables")));
    }
    let mut request = Request::new().op_getrule_dump(&header);
    request.encode().push_table(&name);
    list(table, &request, |(_, rule)| {
        if let (Ok(of), Ok(chain)) = (rule.get_table(), rule.get_chain())
            && of == name.as_c_str()
        {
            *counts.entry(chain.to_string_lossy().into_owned()).or_default() += 1;
        }
    })?;
    Ok(counts)
}

/// The keys that a map has elements for.
///
/// # Errors
/// `not_found` when there is no such table or map; what the kernel gives.
pub fn keys(table: &str, map: &str) -> Result<BTreeSet<Vec<u8>>> {
    let (name, header) = of_table(table)?;
    let mut keys = BTreeSet::new();
    let mut request = Request::new().op_getsetelem_dump(&header);
    request.encode().push_table(&name).push_set(&text(map));
    list(table, &request, |(_, part)| {
        for element in part.get_elements().into_iter().flatten().flatten() {
            if let SetelemListElemAttrs::Elem(element) = element
                && let Ok(key) = element.get_key().and_then(|key| key.get_value())
            {
                keys.insert(key.to_vec());
            }
        }
    })?;
    Ok(keys)
}

fn of_table(table: &str) -> Result<(CString, Nfgenmsg)> {
    let name = CString::new(table).map_err(|_| Error::invalid("the name of a table contains a zero byte"))?;
    let mut header = Nfgenmsg::new();
    header.nfgen_family = INET;
    Ok((name, header))
}

/// Asks for a list, and hands every part of it to `take`.
fn list<R: NetlinkRequest>(table: &str, request: &R, mut take: impl FnMut(R::ReplyType<'_>)) -> Result<()> {
    let mut socket = NetlinkSocket::new();
    let mut replies = socket.request(request).map_err(|error| refused(table, &error, &error.to_string()))?;
    while let Some(reply) = replies.recv() {
        take(reply.map_err(|error| refused(table, error.as_io_error(), &error.to_string()))?);
    }
    Ok(())
}
