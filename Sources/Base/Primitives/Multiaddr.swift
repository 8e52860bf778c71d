// Multiaddresses (multiformats): where a peer can be reached, self-describing. The protocols of peers that we dial or
// that dial us; unknown ones are a fault, because an address that cannot be parsed whole cannot be compared.

public enum MultiaddrFault: Error, Hashable, Sendable {
    case malformed(String)
    case unknownProtocol(String)
}

public struct Multiaddr: Hashable, Comparable, Sendable, CustomStringConvertible {
    public static let bytesMax = 512

    public enum Component: Hashable, Sendable {
        case ip4([UInt8])
        case ip6([UInt8])
        case dns(String)
        case dns4(String)
        case dns6(String)
        case dnsaddr(String)
        case tcp(UInt16)
        case udp(UInt16)
        case peer(PeerID)
        case circuit
        case quicV1
        case ws
        case wss
        case tls
    }

    public let components: [Component]

    /// - Precondition: at least one component.
    public init(_ components: [Component]) {
        precondition(!components.isEmpty, "an address has a component")
        self.components = components
    }

    public init(bytes: some Collection<UInt8>) throws(MultiaddrFault) {
        guard bytes.count <= Self.bytesMax, !bytes.isEmpty else { throw .malformed("\(bytes.count) bytes") }
        var reader = ByteReader(Array(bytes))
        var components: [Component] = []
        do {
            while !reader.isAtEnd { components.append(try Self.component(from: &reader)) }
        } catch let fault as MultiaddrFault {
            throw fault
        } catch {
            throw .malformed("\(error)")
        }
        self.components = components
    }

    private static func component(from reader: inout ByteReader) throws -> Component {
        let code = try reader.varint()
        switch code {
        case 4: return .ip4(try reader.take(4))
        case 41: return .ip6(try reader.take(16))
        case 6: return .tcp(UInt16(try reader.bigEndian(2)))
        case 273: return .udp(UInt16(try reader.bigEndian(2)))
        case 53: return .dns(try name(from: &reader))
        case 54: return .dns4(try name(from: &reader))
        case 55: return .dns6(try name(from: &reader))
        case 56: return .dnsaddr(try name(from: &reader))
        case 421:
            guard let peer = PeerID(multihash: try sized(from: &reader)) else {
                throw MultiaddrFault.malformed("a p2p component that is no peer ID")
            }
            return .peer(peer)
        case 290: return .circuit
        case 461: return .quicV1
        case 477: return .ws
        case 478: return .wss
        case 448: return .tls
        default: throw MultiaddrFault.unknownProtocol("\(code)")
        }
    }

    private static func sized(from reader: inout ByteReader) throws -> [UInt8] {
        let count = try reader.varint()
        guard count <= UInt64(bytesMax) else { throw MultiaddrFault.malformed("a component of \(count) bytes") }
        return try reader.take(Int(count))
    }

    private static func name(from reader: inout ByteReader) throws -> String {
        guard let name = String(validating: try sized(from: &reader), as: UTF8.self), isHostName(name) else {
            throw MultiaddrFault.malformed("a name that is no host name")
        }
        return name
    }

    /// Letters, digits, hyphen, dot, underscore; at most 253 bytes.
    static func isHostName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 253
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    public init(text: String) throws(MultiaddrFault) {
        guard text.utf8.count <= 1024, text.hasPrefix("/") else {
            throw .malformed("begins with \"/\", as in /ip4/127.0.0.1/tcp/4001")
        }
        var parts = text.split(separator: "/", omittingEmptySubsequences: true).map(String.init)[...]
        var components: [Component] = []
        while let name = parts.popFirst() {
            switch name {
            case "p2p-circuit": components.append(.circuit)
            case "quic-v1": components.append(.quicV1)
            case "ws": components.append(.ws)
            case "wss": components.append(.wss)
            case "tls": components.append(.tls)
            default:
                guard let value = parts.popFirst() else { throw .malformed("/\(name) lacks its value") }
                components.append(try Self.component(name, value))
            }
        }
        guard !components.isEmpty else { throw .malformed("is empty") }
        self.components = components
        guard self.bytes.count <= Self.bytesMax else { throw .malformed("more than \(Self.bytesMax) bytes") }
    }

    private static func component(_ name: String, _ value: String) throws(MultiaddrFault) -> Component {
        switch name {
        case "ip4":
            guard let bytes = IPText.ip4(value) else { throw .malformed("\(value) is no IPv4 address") }
            return .ip4(bytes)
        case "ip6":
            guard let bytes = IPText.ip6(value) else { throw .malformed("\(value) is no IPv6 address") }
            return .ip6(bytes)
        case "tcp", "udp":
            guard let port = UInt16(value), "\(port)" == value else { throw .malformed("\(value) is no port") }
            return name == "tcp" ? .tcp(port) : .udp(port)
        case "dns", "dns4", "dns6", "dnsaddr":
            guard isHostName(value) else { throw .malformed("\(value) is no host name") }
            switch name {
            case "dns": return .dns(value)
            case "dns4": return .dns4(value)
            case "dns6": return .dns6(value)
            default: return .dnsaddr(value)
            }
        case "p2p", "ipfs":
            guard let peer = PeerID(text: value) else { throw .malformed("\(value) is no peer ID") }
            return .peer(peer)
        default: throw .unknownProtocol(name)
        }
    }

    public var bytes: [UInt8] {
        var bytes: [UInt8] = []
        for component in components {
            switch component {
            case .ip4(let address): bytes += Varint.encode(4) + address
            case .ip6(let address): bytes += Varint.encode(41) + address
            case .tcp(let port): bytes += Varint.encode(6) + [UInt8(port >> 8), UInt8(port & 255)]
            case .udp(let port): bytes += Varint.encode(273) + [UInt8(port >> 8), UInt8(port & 255)]
            case .dns(let name): bytes += Varint.encode(53) + Self.sized(Array(name.utf8))
            case .dns4(let name): bytes += Varint.encode(54) + Self.sized(Array(name.utf8))
            case .dns6(let name): bytes += Varint.encode(55) + Self.sized(Array(name.utf8))
            case .dnsaddr(let name): bytes += Varint.encode(56) + Self.sized(Array(name.utf8))
            case .peer(let peer): bytes += Varint.encode(421) + Self.sized(peer.bytes)
            case .circuit: bytes += Varint.encode(290)
            case .quicV1: bytes += Varint.encode(461)
            case .ws: bytes += Varint.encode(477)
            case .wss: bytes += Varint.encode(478)
            case .tls: bytes += Varint.encode(448)
            }
        }
        return bytes
    }

    private static func sized(_ bytes: [UInt8]) -> [UInt8] { Varint.encode(UInt64(bytes.count)) + bytes }

    public var text: String {
        components.map { component in
            switch component {
            case .ip4(let address): "/ip4/" + address.map { "\($0)" }.joined(separator: ".")
            case .ip6(let address): "/ip6/" + IPText.text(ip6: address)
            case .tcp(let port): "/tcp/\(port)"
            case .udp(let port): "/udp/\(port)"
            case .dns(let name): "/dns/\(name)"
            case .dns4(let name): "/dns4/\(name)"
            case .dns6(let name): "/dns6/\(name)"
            case .dnsaddr(let name): "/dnsaddr/\(name)"
            case .peer(let peer): "/p2p/\(peer.text)"
            case .circuit: "/p2p-circuit"
            case .quicV1: "/quic-v1"
            case .ws: "/ws"
            case .wss: "/wss"
            case .tls: "/tls"
            }
        }.joined()
    }

    public var description: String { text }

    /// The peer at the far end, if the address names one.
    public var peer: PeerID? {
        if case .peer(let peer) = components.last { peer } else { nil }
    }

    /// The address without the peer at its end; nil if nothing is left.
    public var withoutPeer: Multiaddr? {
        guard peer != nil else { return self }
        return components.count > 1 ? Multiaddr(Array(components.dropLast())) : nil
    }

    public func with(peer: PeerID) -> Multiaddr { Multiaddr((withoutPeer?.components ?? []) + [.peer(peer)]) }

    public static func < (left: Multiaddr, right: Multiaddr) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

/// IP addresses as text (RFC 791 dotted quad, RFC 5952 for IPv6).
enum IPText {
    static func ip4(_ text: some StringProtocol) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bytes: [UInt8] = []
        for part in parts {
            guard let byte = UInt8(part), "\(byte)" == part else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    static func ip6(_ text: some StringProtocol) -> [UInt8]? {
        let halves = String(text).components(separatedBy: "::")
        guard halves.count <= 2, let head = groups(halves[0]) else { return nil }
        guard halves.count == 2 else { return head.count == 16 ? head : nil }
        // A dotted quad stands at the end only.
        guard !halves[0].contains(".") else { return nil }
        guard let tail = groups(halves[1]), head.count + tail.count <= 14 else { return nil }
        return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
    }

    private static func groups(_ text: String) -> [UInt8]? {
        guard !text.isEmpty else { return [] }
        var bytes: [UInt8] = []
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 8 else { return nil }
        for (index, part) in parts.enumerated() {
            if index == parts.count - 1, part.contains(".") {
                guard let quad = ip4(part) else { return nil }
                bytes += quad
            } else {
                guard (1...4).contains(part.utf8.count), let group = UInt16(part, radix: 16), part.first != "+" else {
                    return nil
                }
                bytes += [UInt8(group >> 8), UInt8(group & 255)]
            }
        }
        return bytes
    }

    static func text(ip6 bytes: [UInt8]) -> String {
        let groups = (0..<8).map { UInt16(bytes[$0 * 2]) << 8 | UInt16(bytes[$0 * 2 + 1]) }
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > max(best.count, 1) { best = start..<end }
            start = max(end, start + 1)
        }
        let texts = groups.map { String($0, radix: 16) }
        guard !best.isEmpty else { return texts.joined(separator: ":") }
        return texts[..<best.lowerBound].joined(separator: ":") + "::"
            + texts[best.upperBound...].joined(separator: ":")
    }
}

extension String {
    /// Splits at each occurrence of a separator longer than a character, without Foundation.
    fileprivate func components(separatedBy separator: String) -> [String] {
        split(separator: separator, omittingEmptySubsequences: false).map(String.init)
    }
}
