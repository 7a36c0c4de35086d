//! Which packets the standard allows, read from its tables and written apart from the codec: slow, plain, and without a
//! word about why not.

use wire::mqtt::ProtocolVersion;

/// Where a property may stand: one bit for each packet type; a will has the bit that no packet type has.
const fn places(types: &[u8]) -> u16 {
    let (mut places, mut index) = (0, 0);
    while index < types.len() {
        places |= 1 << types[index];
        index += 1;
    }
    places
}

const WILL: u8 = 0;
const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

/// Section 2.2.2.2, table 2-4: the identifier, the kind of value, and where it may stand. Kinds: `b` a byte that is 0
/// or 1, `2` and `4` integers of as many bytes, upper half `@` and `$` the same but not 0, `v` a variable byte integer
/// but not 0, `s` a string, `t` a topic name, `d` binary data, `p` a pair of strings.
const PROPERTIES: [(u8, u8, u16); 27] = [
    (0x01, b'b', places(&[PUBLISH, WILL])),
    (0x02, b'4', places(&[PUBLISH, WILL])),
    (0x03, b's', places(&[PUBLISH, WILL])),
    (0x08, b't', places(&[PUBLISH, WILL])),
    (0x09, b'd', places(&[PUBLISH, WILL])),
    (0x0b, b'v', places(&[PUBLISH, SUBSCRIBE])),
    (0x11, b'4', places(&[CONNECT, CONNACK, DISCONNECT])),
    (0x12, b's', places(&[CONNACK])),
    (0x13, b'2', places(&[CONNACK])),
    (0x15, b's', places(&[CONNECT, CONNACK, AUTH])),
    (0x16, b'd', places(&[CONNECT, CONNACK, AUTH])),
    (0x17, b'b', places(&[CONNECT])),
    (0x18, b'4', places(&[WILL])),
    (0x19, b'b', places(&[CONNECT])),
    (0x1a, b's', places(&[CONNACK])),
    (0x1c, b's', places(&[CONNACK, DISCONNECT])),
    (0x1f, b's', places(&[CONNACK, 4, 5, 6, 7, 9, 11, DISCONNECT, AUTH])),
    (0x21, b'@', places(&[CONNECT, CONNACK])),
    (0x22, b'2', places(&[CONNECT, CONNACK])),
    (0x23, b'@', places(&[PUBLISH])),
    (0x24, b'b', places(&[CONNACK])),
    (0x25, b'b', places(&[CONNACK])),
    (0x26, b'p', places(&[WILL, CONNECT, CONNACK, PUBLISH, 4, 5, 6, 7, SUBSCRIBE, 9, 10, 11, DISCONNECT, AUTH])),
    (0x27, b'$', places(&[CONNECT, CONNACK])),
    (0x28, b'b', places(&[CONNACK])),
    (0x29, b'b', places(&[CONNACK])),
    (0x2a, b'b', places(&[CONNACK])),
];

/// The reason codes of a packet type's table in MQTT 5.0.
const fn reasons(packet_type: u8) -> &'static [u8] {
    match packet_type {
        CONNACK => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a,
            0x9b, 0x9c, 0x9d, 0x9f,
        ],
        4 | 5 => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        6 | 7 => &[0x00, 0x92],
        9 => &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
        11 => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
        DISCONNECT => &[
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
            0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
        ],
        AUTH => &[0x00, 0x18, 0x19],
        _ => &[],
    }
}

/// Whether a client that is connected may not send a packet with this first byte (table 2-1).
pub(super) fn not_from_client(first: u8) -> bool {
    matches!(first, 0x10 | 0x20 | 0x90 | 0xb0 | 0xd0)
}

/// Whether either side may send this packet; `padded` says that its Remaining Length is longer than it needs to be.
pub(super) fn allows(first: u8, body: &[u8], padded: bool, version: ProtocolVersion) -> bool {
    let mut fields = Fields(body);
    let v5 = match version {
        // A CONNECT says itself what it is.
        _ if first == 0x10 => body.get(6) == Some(&5),
        version => version == ProtocolVersion::V5,
    };
    !(v5 && padded) && packet(first, &mut fields, v5).is_some() && fields.0.is_empty()
}

fn packet(first: u8, fields: &mut Fields<'_>, v5: bool) -> Option<()> {
    let packet_type = first >> 4;
    let properties = |fields: &mut Fields<'_>| if v5 { fields.properties(packet_type).map(drop) } else { Some(()) };
    match first {
        0x10 => connect(fields, v5),
        0x20 => {
            let (flags, code) = (fields.byte()?, fields.byte()?);
            let known = if v5 { reasons(packet_type).contains(&code) } else { code <= 5 };
            when(known && flags <= u8::from(code == 0))?;
            properties(fields)
        }
        0x30..=0x3f => publish(first, fields, v5),
        0x40 | 0x50 | 0x62 | 0x70 => {
            when(fields.two()? != 0)?;
            if v5 { reason_and_properties(packet_type, fields) } else { Some(()) }
        }
        0x82 => {
            when(fields.two()? != 0)?;
            properties(fields)?;
            fields.each(|fields| {
                let (filter, options) = (fields.string()?, fields.byte()?);
                let shared = filter.starts_with("$share/");
                when(options & 3 < 3 && options < if v5 { 0x30 } else { 4 } && !(shared && options & 4 != 0))
            })
        }
        0xa2 => {
            when(fields.two()? != 0)?;
            properties(fields)?;
            fields.each(|fields| fields.string().map(drop))
        }
        0x90 | 0xb0 => {
            when(fields.two()? != 0)?;
            properties(fields)?;
            match (first, v5) {
                (0xb0, false) => Some(()),
                (_, false) => fields.each(|fields| when(matches!(fields.byte()?, 0 | 1 | 2 | 0x80))),
                (_, true) => fields.each(|fields| when(reasons(packet_type).contains(&fields.byte()?))),
            }
        }
        0xc0 | 0xd0 => Some(()),
        0xe0 if !v5 => Some(()),
        0xe0 => reason_and_properties(packet_type, fields),
        // Here a reason is never without a property length.
        0xf0 if v5 && fields.0.len() != 1 => reason_and_properties(packet_type, fields),
        _ => None,
    }
}

fn connect(fields: &mut Fields<'_>, v5: bool) -> Option<()> {
    when(fields.data()? == b"MQTT" && matches!(fields.byte()?, 4 | 0x84 | 5))?;
    let flags = fields.byte()?;
    let [user_name, password, will] = [0x80, 0x40, 0x04].map(|flag| flags & flag != 0);
    when(flags & 1 == 0 && (will && flags >> 3 & 3 < 3 || flags & 0x38 == 0) && (v5 || user_name || !password))?;
    fields.two()?;
    if v5 {
        let seen = fields.properties(CONNECT)?;
        when(seen & 1 << 0x16 == 0 || seen & 1 << 0x15 != 0)?;
    }
    fields.string()?;
    if will {
        if v5 {
            fields.properties(WILL)?;
        }
        when(!fields.topic()?.is_empty())?;
        fields.data()?;
    }
    if user_name {
        fields.string()?;
    }
    if password {
        fields.data()?;
    }
    Some(())
}

fn publish(first: u8, fields: &mut Fields<'_>, v5: bool) -> Option<()> {
    let qos = first >> 1 & 3;
    when(qos < 3 && (qos > 0 || first & 8 == 0))?;
    let topic = fields.topic()?;
    if qos > 0 {
        when(fields.two()? != 0)?;
    }
    let seen = if v5 { fields.properties(PUBLISH)? } else { 0 };
    when(!topic.is_empty() || seen & 1 << 0x23 != 0)?;
    fields.0 = &[];
    Some(())
}

/// A reason code and properties, of which the properties or both may be left out.
fn reason_and_properties(packet_type: u8, fields: &mut Fields<'_>) -> Option<()> {
    if fields.0.is_empty() {
        return Some(());
    }
    when(reasons(packet_type).contains(&fields.byte()?))?;
    if fields.0.is_empty() { Some(()) } else { fields.properties(packet_type).map(drop) }
}

fn when(holds: bool) -> Option<()> {
    holds.then_some(())
}

/// The fields that are left.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.0.get(..len)?;
        self.0 = &self.0[len..];
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn two(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) << 8 | usize::from(self.byte()?))
    }

    fn four(&mut self) -> Option<usize> {
        Some(self.two()? << 16 | self.two()?)
    }

    /// At most four bytes, and no more of them than needed.
    fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return when(byte > 0 || shift == 0).map(|()| value);
            }
        }
        None
    }

    fn data(&mut self) -> Option<&'a [u8]> {
        let len = self.two()?;
        self.take(len)
    }

    fn string(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.data()?).ok().filter(|string| !string.contains('\0'))
    }

    /// A topic name, or an empty one.
    fn topic(&mut self) -> Option<&'a str> {
        self.string().filter(|topic| !topic.contains(['+', '#']))
    }

    /// One or more, to the end.
    fn each(&mut self, mut read: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        read(self)?;
        while !self.0.is_empty() {
            read(self)?;
        }
        Some(())
    }

    /// The properties of a packet type, with their length; one bit for each that occurs.
    fn properties(&mut self, place: u8) -> Option<u64> {
        let len = self.varint()?;
        let mut rest = Fields(self.take(len)?);
        let mut seen = 0;
        while !rest.0.is_empty() {
            let id = rest.varint()?;
            let &(id, kind, places) = PROPERTIES.iter().find(|(known, ..)| usize::from(*known) == id)?;
            when(places & 1 << place != 0)?;
            let again = id == 0x26 || id == 0x0b && place == PUBLISH;
            when(again || seen & 1 << id == 0)?;
            seen |= 1 << id;
            rest.value(kind)?;
        }
        Some(seen)
    }

    fn value(&mut self, kind: u8) -> Option<()> {
        match kind {
            b'b' => when(self.byte()? <= 1),
            b'2' => self.two().map(drop),
            b'4' => self.four().map(drop),
            b'@' => when(self.two()? != 0),
            b'$' => when(self.four()? != 0),
            b'v' => when(self.varint()? != 0),
            b's' => self.string().map(drop),
            b't' => when(!self.topic()?.is_empty()),
            b'd' => self.data().map(drop),
            _ => self.string().and(self.string()).map(drop),
        }
    }
}
