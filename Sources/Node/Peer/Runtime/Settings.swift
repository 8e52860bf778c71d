// What can be configured, from where the value came, and how: flag, then OPENLEDGER_* environment, then config.toml in the
// home, then default. One table; `config explain` prints it.

import Foundation
package import Primitives
import Records
import TOMLKit

package enum SettingSource: String, Sendable, Hashable { case flag, environment, file, `default` }

package enum SettingsFault: Error, Sendable, CustomStringConvertible {
    case file(path: String, reason: String)
    case unknown(key: String, path: String)
    case value(key: String, source: SettingSource, reason: String)

    package var description: String {
        switch self {
        case .file(let path, let reason): "\(path): \(reason)"
        case .unknown(let key, let path): "\(path): \"\(key)\" is no setting; openledger config explain lists them"
        case .value(let key, let source, let reason): "\(key) (from the \(source.rawValue)): \(reason)"
        }
    }
}

package struct Settings: Sendable {
    package struct Key: Sendable {
        package let name: String
        package let fallback: String
        package let isSecret: Bool
        /// What it means, for `config explain`.
        package let about: String

        package var environment: String {
            "OPENLEDGER_" + name.uppercased().replacingOccurrences(of: ".", with: "_")
        }
    }

    package static let keys: [Key] = [
        Key(name: "http", fallback: "127.0.0.1:8547", isSecret: false, about: "HOST:PORT of the page and the API"),
        Key(
            name: "http.hosts", fallback: "", isSecret: false,
            about: "further names in Host, comma-separated, each with its port"),
        Key(name: "http.keys", fallback: "", isSecret: true, about: "API keys (olk_…), comma-separated"),
        Key(
            name: "listen", fallback: "/ip4/0.0.0.0/tcp/4001", isSecret: false,
            about: "multiaddrs to listen on, comma-separated"),
        Key(name: "bootstrap", fallback: "", isSecret: false, about: "peers to begin with, comma-separated"),
        Key(name: "role", fallback: "full", isSecret: false, about: "full, edge or light"),
        Key(
            name: "network", fallback: "", isSecret: false, about: "genesis hash or file; empty: a local network of one"
        ),
        Key(name: "serve", fallback: "true", isSecret: false, about: "answer neighbours' questions for pay"),
        Key(
            name: "precision", fallback: "f32", isSecret: false,
            about: "f32, bf16, int8 or int4: how models are served whose import named none"
        ),
        Key(
            name: "cache", fallback: "f32", isSecret: false,
            about: "f32 or int8: how keys and values are kept; int8 takes a quarter of the memory"),
        Key(
            name: "threads", fallback: "auto", isSecret: false,
            about: "threads that compute an answer, 1 to 64; auto: one for each core, at most 16"),
        Key(
            name: "memory.models", fallback: "0", isSecret: false,
            about: "memory for weights, as in 6GiB; 0: no limit. Layers beyond it are computed by neighbours"),
        Key(
            name: "layers.serve", fallback: "", isSecret: false,
            about: "MODEL:FIRST-LAST or MODEL, comma-separated: layers that this peer computes for neighbours"),
        Key(
            name: "layers.for", fallback: "", isSecret: false,
            about: "peer IDs for whom layers are computed, comma-separated; empty: all of the network"),
        Key(
            name: "layers.memory", fallback: "256MiB", isSecret: false,
            about: "memory for the keys and values of neighbours' layers"),
        Key(
            name: "keep.disk", fallback: "512MiB", isSecret: false,
            about: "disk lent to other people's datanets, 16MiB or more; 0: none"),
        Key(name: "price.request", fallback: "0.0001", isSecret: false, about: "OPEN for each request"),
        Key(name: "price.prompt_token", fallback: "0.000001", isSecret: false, about: "OPEN for each prompt token"),
        Key(name: "price.answer_token", fallback: "0.00001", isSecret: false, about: "OPEN for each answer token"),
        Key(name: "allowance.limit", fallback: "1", isSecret: false, about: "OPEN locked when a server is first paid"),
        Key(name: "allowance.heights", fallback: "100000", isSecret: false, about: "batches that an allowance lasts"),
        Key(
            name: "audit.share", fallback: "0.01", isSecret: false,
            about: "part of own paid answers that is re-executed here, 0 to 1; 0 turns it off"),
        Key(
            name: "audit.open", fallback: "false", isSecret: false,
            about: "let such an audit show a prompt to another peer where this one lacks the model"),
        Key(
            name: "attribution.scoring", fallback: "16384", isSecret: false,
            about: "tokens that may be computed to weigh an answer's passages, 0 to 1048576; 0: spans alone"),
        Key(name: "log", fallback: "info", isSecret: false, about: "trace, debug, info, notice, warning or error"),
    ]

    private var values: [String: (text: String, source: SettingSource)] = [:]

    /// - Parameters:
    ///   - flags: by key name; only those that were given.
    ///   - environment: of the process.
    package init(home: Home, flags: [String: String], environment: [String: String]) throws(SettingsFault) {
        let file = try Self.read(home.configurationPath)
        for key in Self.keys {
            if let text = flags[key.name] {
                values[key.name] = (text, .flag)
            } else if let text = environment[key.environment], !text.isEmpty {
                values[key.name] = (text, .environment)
            } else if let text = file[key.name] {
                values[key.name] = (text, .file)
            } else {
                values[key.name] = (key.fallback, .default)
            }
        }
        try check()
    }

    private static func read(_ path: String) throws(SettingsFault) -> [String: String] {
        guard let data = FileManager.default.contents(atPath: path) else { return [:] }
        let table: TOMLTable
        do { table = try TOMLTable(string: String(decoding: data, as: UTF8.self)) } catch {
            throw .file(path: path, reason: "\(error)")
        }
        var found: [String: String] = [:]
        func collect(_ table: TOMLTable, _ prefix: String) throws(SettingsFault) {
            for key in table.keys.sorted() {
                let name = prefix + key
                guard let value = table[key] else { continue }
                if let inner = value.table {
                    try collect(inner, name + ".")
                } else if let text = Self.text(value) {
                    // `[http] address` is spelled `http.address`; `http` itself is a plain key.
                    let resolved = name.hasSuffix(".address") ? String(name.dropLast(8)) : name
                    guard Self.keys.contains(where: { $0.name == resolved }) else {
                        throw .unknown(key: name, path: path)
                    }
                    found[resolved] = text
                } else {
                    throw .file(path: path, reason: "\(name) is neither text, number, flag nor a list of texts")
                }
            }
        }
        try collect(table, "")
        return found
    }

    private static func text(_ value: any TOMLValueConvertible) -> String? {
        if let text = value.string { return text }
        if let flag = value.bool { return flag ? "true" : "false" }
        if let number = value.int { return "\(number)" }
        if let number = value.double { return "\(number)" }
        if let list = value.array { return list.compactMap { $0.string }.joined(separator: ",") }
        return nil
    }

    package func text(_ name: String) -> String { values[name]?.text ?? "" }

    package func list(_ name: String) -> [String] {
        text(name).split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    package func source(_ name: String) -> SettingSource { values[name]?.source ?? .default }

    package func amount(_ name: String) throws(SettingsFault) -> Amount {
        guard let amount = Amount(text: text(name)) else {
            throw .value(
                key: name, source: source(name), reason: "\"\(text(name))\" is no amount; one looks like 0.0001")
        }
        return amount
    }

    package func number(_ name: String) throws(SettingsFault) -> UInt64 {
        guard let number = UInt64(text(name)) else {
            throw .value(key: name, source: source(name), reason: "\"\(text(name))\" is no whole number")
        }
        return number
    }

    /// Tokens of work, as `attribution.scoring`.
    package func count(_ name: String) throws(SettingsFault) -> Int {
        let number = try number(name)
        guard number <= 1 << 20 else {
            throw .value(key: name, source: source(name), reason: "is at most \(1 << 20)")
        }
        return Int(number)
    }

    /// Threads that compute an answer.
    package var threads: Int {
        text("threads") == "auto" ? min(16, ProcessInfo.processInfo.activeProcessorCount) : Int(text("threads")) ?? 1
    }

    /// As in 1500000, 512MiB, 6GiB.
    package func bytes(_ name: String) throws(SettingsFault) -> Int {
        let text = text(name)
        let units = ["KiB": 10, "MiB": 20, "GiB": 30]
        let unit = units.keys.first { text.hasSuffix($0) }
        let digits = unit.map { text.dropLast($0.count) } ?? text[...]
        guard let number = Int(digits.trimmingCharacters(in: .whitespaces)), number >= 0,
            number <= Int.max >> 31
        else {
            throw .value(
                key: name, source: source(name), reason: "\"\(text)\" is no number of bytes; one looks like 512MiB")
        }
        return number << (unit.flatMap { units[$0] } ?? 0)
    }

    /// A fraction, in millionths.
    package func share(_ name: String) throws(SettingsFault) -> PartsPerMillion {
        guard let fraction = Double(text(name)), (0...1).contains(fraction) else {
            throw .value(key: name, source: source(name), reason: "\"\(text(name))\" is no part; one looks like 0.01")
        }
        return PartsPerMillion(UInt32((fraction * 1e6).rounded()))
    }

    package func addresses(_ name: String) throws(SettingsFault) -> [Multiaddr] {
        var addresses: [Multiaddr] = []
        for text in list(name) {
            do { addresses.append(try Multiaddr(text: text)) } catch {
                throw .value(key: name, source: source(name), reason: "\(text) is no multiaddr: \(error)")
            }
        }
        return addresses
    }

    private func check() throws(SettingsFault) {
        _ = try addresses("listen")
        _ = try addresses("bootstrap")
        for name in ["price.request", "price.prompt_token", "price.answer_token", "allowance.limit"] {
            _ = try amount(name)
        }
        _ = try number("allowance.heights")
        _ = try share("audit.share")
        _ = try count("attribution.scoring")
        guard ["true", "false"].contains(text("audit.open")) else {
            throw .value(key: "audit.open", source: source("audit.open"), reason: "is true or false")
        }
        guard ["full", "edge", "light"].contains(text("role")) else {
            throw .value(key: "role", source: source("role"), reason: "is full, edge or light")
        }
        guard ["true", "false"].contains(text("serve")) else {
            throw .value(key: "serve", source: source("serve"), reason: "is true or false")
        }
        guard ["f32", "bf16", "int8", "int4"].contains(text("precision")) else {
            throw .value(key: "precision", source: source("precision"), reason: "is f32, bf16, int8 or int4")
        }
        guard ["f32", "int8"].contains(text("cache")) else {
            throw .value(key: "cache", source: source("cache"), reason: "is f32 or int8")
        }
        guard text("threads") == "auto" || (1...WorkerThreads.widthMax).contains(Int(text("threads")) ?? 0) else {
            throw .value(
                key: "threads", source: source("threads"), reason: "is auto, or 1 to \(WorkerThreads.widthMax)")
        }
        for name in ["memory.models", "layers.memory"] { _ = try bytes(name) }
        let lent = try bytes("keep.disk")
        guard lent == 0 || lent >= Int(LentDisk.lentMin) else {
            throw .value(key: "keep.disk", source: source("keep.disk"), reason: "is 0, or 16MiB or more")
        }
        for text in list("layers.serve") where LayersWanted(text: text) == nil {
            throw .value(
                key: "layers.serve", source: source("layers.serve"),
                reason: "\"\(text)\" is not MODEL or MODEL:FIRST-LAST, as in starter:0-2")
        }
        for text in list("layers.for") where PeerID(text: text) == nil {
            throw .value(key: "layers.for", source: source("layers.for"), reason: "\"\(text)\" is no peer ID")
        }
        guard let colon = text("http").lastIndex(of: ":"),
            UInt16(text("http")[text("http").index(after: colon)...]) != nil
        else { throw .value(key: "http", source: source("http"), reason: "is HOST:PORT, as in 127.0.0.1:8547") }
    }

    package var httpHost: String {
        let text = text("http")
        let host = text[..<(text.lastIndex(of: ":") ?? text.endIndex)]
        return String(host).trimmingCharacters(in: CharacterSet(charactersIn: "[]"))
    }

    package var httpPort: Int {
        let text = text("http")
        return text.lastIndex(of: ":").flatMap { Int(text[text.index(after: $0)...]) } ?? 0
    }

    /// As `GET config` shows it.
    package var explained: JSONValue {
        .object([
            "settings": .array(
                Self.keys.map { key in
                    let shown = key.isSecret && !text(key.name).isEmpty ? "(set)" : text(key.name)
                    return .object([
                        "key": .string(key.name), "value": .string(shown), "source": .string(source(key.name).rawValue),
                        "environment": .string(key.environment), "about": .string(key.about),
                    ])
                })
        ])
    }
}
