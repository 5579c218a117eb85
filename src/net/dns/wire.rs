//! Messages as bytes (RFC 1035, RFC 6891). The one door to `hickory-proto`.
//!
//! Whatever is passed on is passed as it came; only what is answered here is taken apart and put together.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecoder;

/// No question needs more; some options of EDNS make it longer than a name.
pub(super) const MAX_QUERY: usize = 4096;
/// What a length of two bytes can say.
pub(super) const MAX_REPLY: usize = 65_535;
/// Docker's.
const TTL_S: u32 = 600;
/// What a sender without EDNS can take (RFC 1035 4.2.1).
const PLAIN_UDP: usize = 512;
/// What we say that we can take, and the most that we send (RFC 9715).
const EDNS_UDP: u16 = 1232;
const HEADER: usize = 12;

/// How a question ended (RFC 1035 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    /// The question cannot be read.
    Malformed = 1,
    /// Those who were asked could not tell.
    ServerFailure = 2,
    /// There is no such name.
    NoSuchName = 3,
    /// Something else than a question.
    NotImplemented = 4,
}

/// What a client asks.
#[derive(Debug)]
pub(super) struct Asked {
    /// The bytes as they came.
    pub(super) bytes: Vec<u8>,
    /// In lower case, without a final dot.
    pub(super) name: String,
    /// Where the question ends in the bytes.
    end: usize,
    query: Query,
}

/// What is in a message from a client.
#[derive(Debug)]
pub(super) enum Received {
    /// Nothing that is answered.
    Noise,
    /// What can only be refused, with this reply.
    Refused(Vec<u8>),
    /// A question.
    Asked(Asked),
}

/// Reads a message from a client.
pub(super) fn read(bytes: &[u8]) -> Received {
    // An answer to an answer could go round for ever.
    if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
        return Received::Noise;
    }
    let refused = |code| Received::Refused(refuse(&bytes[..HEADER], code));
    if bytes[2] & 0x78 != 0 {
        return refused(Code::NotImplemented);
    }
    if bytes[4..6] != [0, 1] || bytes.len() > MAX_QUERY {
        return refused(Code::Malformed);
    }
    let Some((query, end)) = question(bytes) else { return refused(Code::Malformed) };
    let name = query.name().to_lowercase().to_ascii();
    let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
    Received::Asked(Asked { bytes: bytes.to_owned(), name, end, query })
}

fn question(bytes: &[u8]) -> Option<(Query, usize)> {
    let mut decoder = BinDecoder::new(bytes);
    decoder.read_slice(HEADER).ok()?;
    let query = Message::read_queries(&mut decoder, 1).ok()?.pop()?;
    Some((query, decoder.index()))
}

/// A reply without records to a message of which `head` is the header, or that and the question.
fn refuse(head: &[u8], code: Code) -> Vec<u8> {
    let mut reply = head.to_owned();
    // It is a reply, of the same kind and to the same wish; recursion is available.
    (reply[2], reply[3]) = (0x80 | head[2] & 0x79, 0x80 | code as u8);
    reply[4..HEADER].fill(0);
    reply[5] = u8::from(head.len() > HEADER);
    reply
}

impl Asked {
    /// It asks for what the Internet's names stand for, and not for something of a server.
    pub(super) fn is_internet(&self) -> bool {
        matches!(self.query.query_class(), DNSClass::IN | DNSClass::ANY)
    }

    /// It asks for the name of an address.
    pub(super) fn is_reverse(&self) -> bool {
        matches!(self.query.query_type(), RecordType::PTR | RecordType::ANY)
    }

    /// The reply without records.
    pub(super) fn refuse(&self, code: Code) -> Vec<u8> {
        refuse(&self.bytes[..self.end], code)
    }

    /// The reply with the addresses of the name, of the family that is asked for, which may be none.
    pub(super) fn addresses(&self, found: impl Iterator<Item = IpAddr>, udp: bool) -> Vec<u8> {
        let wanted = self.query.query_type();
        let data = found.filter_map(|address| match address {
            IpAddr::V4(address) if matches!(wanted, RecordType::A | RecordType::ANY) => Some(RData::A(A(address))),
            IpAddr::V6(address) if matches!(wanted, RecordType::AAAA | RecordType::ANY) => {
                Some(RData::AAAA(AAAA(address)))
            }
            _ => None,
        });
        self.reply(data.collect(), udp)
    }

    /// The reply with the name of an address.
    pub(super) fn named(&self, name: &str, udp: bool) -> Vec<u8> {
        // A container's name that is none of the Internet's can be no answer.
        let name = Name::from_ascii(format!("{name}.")).ok();
        self.reply(name.into_iter().map(|name| RData::PTR(PTR(name))).collect(), udp)
    }

    fn reply(&self, data: Vec<RData>, udp: bool) -> Vec<u8> {
        let Ok(asked) = Message::from_vec(&self.bytes) else { return self.refuse(Code::Malformed) };
        let mut reply = Message::response(asked.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = asked.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(self.query.clone());
        let mut limit = if udp { PLAIN_UDP } else { MAX_REPLY };
        if let Some(theirs) = &asked.edns {
            // Who says EDNS hears it (RFC 6891 6.1.1).
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS_UDP);
            reply.set_edns(edns);
            if udp {
                limit = usize::from(theirs.max_payload().min(EDNS_UDP)).max(PLAIN_UDP);
            }
        }
        // Each record names its name by a pointer: 12 bytes and its data (RFC 1035 4.1.4); names are at most 255.
        let length = |data: &RData| {
            12 + if let RData::A(_) = data {
                4
            } else if let RData::AAAA(_) = data {
                16
            } else {
                255
            }
        };
        // Length of our own records: the question twice would still be shorter than what a record can be.
        let mut room = limit.saturating_sub(self.end + 11);
        let all = data.len();
        for data in data {
            // A single one always has its place: a name and its address are far below the least limit.
            let length = length(&data);
            if length > room && !matches!(data, RData::PTR(_)) {
                break;
            }
            room = room.saturating_sub(length);
            reply.add_answer(Record::from_rdata(self.query.name().clone(), TTL_S, data));
        }
        // Some clients take what there is, others come again over TCP.
        reply.metadata.truncation = udp && reply.answers.len() < all;
        match reply.to_vec() {
            Ok(bytes) if bytes.len() <= limit => bytes,
            _ => self.refuse(Code::ServerFailure),
        }
    }

    /// What a server's message is to this question; none when it is no reply to it.
    pub(super) fn verdict(&self, reply: &[u8]) -> Option<Verdict> {
        if reply.len() < HEADER || reply[..2] != self.bytes[..2] || reply[2] & 0x80 == 0 {
            return None;
        }
        let code = reply[3] & 0x0f;
        // Only a complaint may come without the question.
        let fits = match reply[4..6] {
            [0, 1] => question(reply).is_some_and(|(query, _)| query == self.query),
            [0, 0] => code != 0,
            _ => false,
        };
        // These say something of the server, not of the name: another one may know better.
        fits.then_some(if matches!(code, 2 | 4 | 5) { Verdict::Complaint } else { Verdict::Answer })
    }
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It knows.
    Answer,
    /// It cannot or will not tell.
    Complaint,
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::ResponseCode;
    use proptest::prelude::*;

    fn ask(name: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 4711;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        if let Some(payload) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    }

    fn asked(name: &str, kind: RecordType, edns: Option<u16>) -> Asked {
        match read(&ask(name, kind, edns)) {
            Received::Asked(asked) => asked,
            other => panic!("{other:?}"),
        }
    }

    fn addresses(count: u32) -> impl Iterator<Item = IpAddr> {
        (0..count).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()))
    }

    #[test]
    fn answers_have_the_wanted_family_and_keep_the_letters_of_the_question() {
        let question = asked("WeB.", RecordType::A, None);
        assert_eq!(question.name, "web");
        let reply = Message::from_vec(&question.addresses(addresses(2), true)).unwrap();
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (4711, ResponseCode::NoError));
        assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available && !reply.metadata.truncation);
        assert_eq!(reply.answers.len(), 2);
        assert_eq!(reply.answers[0].ttl, 600);
        assert_eq!(reply.queries[0].name().to_ascii(), "WeB.");
        assert!(reply.edns.is_none());
        let none =
            Message::from_vec(&asked("web.", RecordType::AAAA, Some(1400)).addresses(addresses(2), true)).unwrap();
        assert_eq!((none.answers.len(), none.metadata.response_code), (0, ResponseCode::NoError));
        assert!(none.edns.is_some());
    }

    #[test]
    fn too_many_addresses_are_cut_over_udp_and_whole_over_tcp() {
        for (edns, least, most) in [(None, 25, 32), (Some(1232), 70, 77), (Some(65_000), 70, 77), (Some(0), 25, 32)] {
            let question = asked("many.", RecordType::A, edns);
            let bytes = question.addresses(addresses(3000), true);
            let reply = Message::from_vec(&bytes).unwrap();
            assert!(reply.metadata.truncation && bytes.len() <= 1232, "{edns:?}");
            assert!((least..=most).contains(&reply.answers.len()), "{edns:?}: {}", reply.answers.len());
            let whole = Message::from_vec(&question.addresses(addresses(3000), false)).unwrap();
            assert_eq!((whole.answers.len(), whole.metadata.truncation), (3000, false));
            assert!(question.addresses(addresses(60_000), false).len() <= MAX_REPLY);
        }
        let name = format!("{0}.{0}.{0}.{1}.", "a".repeat(63), "b".repeat(61));
        let longest = Message::from_vec(&asked(&name, RecordType::A, None).addresses(addresses(1), true)).unwrap();
        assert_eq!(longest.answers.len(), 1);
        let named = asked("2.0.0.10.in-addr.arpa.", RecordType::PTR, None).named("web.front", true);
        assert_eq!(Message::from_vec(&named).unwrap().answers.len(), 1);
    }

    #[test]
    fn what_is_no_question_is_refused_or_not_answered() {
        let question = ask("web.", RecordType::A, None);
        let changed = |at: usize, value| {
            let mut bytes = question.clone();
            bytes[at] = value;
            bytes
        };
        assert!(matches!(read(&changed(2, 0x80)), Received::Noise));
        assert!(matches!(read(&question[..11]), Received::Noise));
        let code = |bytes: &[u8]| match read(bytes) {
            Received::Refused(reply) => Some((reply.len(), reply[3] & 0xf)),
            _ => None,
        };
        assert_eq!(code(&changed(2, 0x10)), Some((12, 4)));
        assert_eq!(code(&changed(5, 2)), Some((12, 1)));
        assert_eq!(code(&changed(12, 60)), Some((12, 1)));
        assert_eq!(code(&question[..14]), Some((12, 1)));
        assert_eq!(
            code(&[&question[..12], &[0xc0, 12, 0, 1, 0, 1]].concat()),
            Some((12, 1)),
            "a name that points to itself"
        );
        let failed = asked("Web.", RecordType::MX, None).refuse(Code::ServerFailure);
        let failed = Message::from_vec(&failed).unwrap();
        assert_eq!((failed.metadata.response_code, failed.queries.len()), (ResponseCode::ServFail, 1));
    }

    #[test]
    fn only_replies_to_the_question_count() {
        let question = asked("web.", RecordType::A, None);
        let good = question.addresses(addresses(1), true);
        assert_eq!(question.verdict(&good), Some(Verdict::Answer));
        assert_eq!(question.verdict(&question.refuse(Code::NoSuchName)), Some(Verdict::Answer));
        assert_eq!(question.verdict(&question.refuse(Code::ServerFailure)), Some(Verdict::Complaint));
        assert_eq!(question.verdict(&question.bytes), None, "a question");
        assert_eq!(question.verdict(&asked("bad.", RecordType::A, None).addresses(addresses(1), true)), None);
        assert_eq!(question.verdict(&asked("web.", RecordType::MX, None).addresses(addresses(1), true)), None);
        let mut other = good.clone();
        other[0] ^= 1;
        assert_eq!(question.verdict(&other), None);
        assert_eq!(question.verdict(&good[..12]), None);
        assert_eq!(question.verdict(&refuse(&question.bytes[..12], Code::Malformed)), Some(Verdict::Answer));
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_stops_it(bytes in proptest::collection::vec(any::<u8>(), 0..600), tail in 0usize..64, flips in proptest::collection::vec((0usize..80, any::<u8>()), 0..6)) {
            let mut near = ask("some.name.front.", RecordType::A, Some(1232));
            for (at, value) in flips {
                let length = near.len();
                near[at % length] = value;
            }
            let cut = near[..near.len() - tail.min(near.len())].to_vec();
            for bytes in [bytes, near, cut] {
                if let Received::Asked(asked) = read(&bytes) {
                    prop_assert!(asked.addresses(addresses(100), true).len() <= 1232);
                    asked.named("a.b", false);
                    asked.verdict(&bytes);
                    asked.refuse(Code::NoSuchName);
                }
            }
        }
    }
}
