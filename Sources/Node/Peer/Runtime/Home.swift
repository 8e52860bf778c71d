// The home: one folder that is the peer. Its key, its token, its configuration and its store; nothing outside it.

import Foundation
package import Ledger
package import Primitives

package enum HomeFault: Error, Sendable, CustomStringConvertible {
    case cannotMake(path: String, reason: String)
    case key(path: String, reason: String)
    case genesis(String)
    case exists(path: String)
    case backup(String)

    package var description: String {
        switch self {
        case .cannotMake(let path, let reason): "\(path) cannot be made: \(reason)"
        case .key(let path, let reason): "the key file \(path): \(reason)"
        case .genesis(let reason): reason
        case .exists(let path): "\(path) exists and is never overwritten"
        case .backup(let reason): reason
        }
    }
}

package struct Home: Sendable {
    package let path: String

    package var keyPath: String { "\(path)/node.key" }
    package var tokenPath: String { "\(path)/token" }
    package var configurationPath: String { "\(path)/config.toml" }
    package var socketPath: String { "\(path)/api.sock" }
    package var genesisPath: String { "\(path)/genesis.cbor" }
    /// The hash of the network that this home is to join, while it has no genesis.
    package var wantedNetworkPath: String { "\(path)/network.wanted" }
    package var storePath: String { path }
    package var trainingsPath: String { "\(path)/trainings" }
    /// Documents while they are read: may be removed at any time.
    package var documentsPath: String { "\(path)/documents" }
    package var trainingSpeedsPath: String { "\(path)/training-speeds.json" }
    /// Packed weights: may be removed at any time while no peer runs.
    package var preparedPath: String { "\(path)/prepared" }

    /// Opens the folder, or makes it with mode 0700.
    package init(path: String) throws(HomeFault) {
        self.path = path
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw .cannotMake(path: path, reason: error.localizedDescription)
        }
    }

    package var hasKey: Bool { FileManager.default.fileExists(atPath: keyPath) }

    /// The key of this home; drawn from the system's randomness where there is none yet.
    package func signingKey() throws(HomeFault) -> SigningKey {
        if hasKey { return try readKey() }
        let key = try Self.drawnKey()
        try write(key)
        return key
    }

    package static func drawnKey() throws(HomeFault) -> SigningKey {
        do { return try SigningKey(seed: randomBytes(32)) } catch { throw .key(path: "", reason: "\(error)") }
    }

    /// Writes a key into a home that has none.
    package func write(_ key: SigningKey) throws(HomeFault) {
        try Self.writeNew(Array((Hex.encode(key.seed) + "\n").utf8), to: keyPath)
    }

    private func readKey() throws(HomeFault) -> SigningKey {
        guard FileMode.isPrivate(keyPath) else {
            throw .key(path: keyPath, reason: "other users can read it; run: chmod 600 \(keyPath)")
        }
        guard let data = FileManager.default.contents(atPath: keyPath),
            let seed = Hex.decode(String(decoding: data.prefix { $0 > 32 }, as: UTF8.self)),
            let key = try? SigningKey(seed: seed)
        else {
            throw .key(path: keyPath, reason: "it does not hold a key; restore one with: openledger key restore FILE")
        }
        return key
    }

    /// Creates a file of mode 0600 that must not exist, synced before this returns.
    package static func writeNew(_ bytes: [UInt8], to path: String) throws(HomeFault) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            if errno == EEXIST { throw .exists(path: path) }
            throw .cannotMake(path: path, reason: String(cString: strerror(errno)))
        }
        defer { close(descriptor) }
        guard Foundation.write(descriptor, bytes, bytes.count) == bytes.count, fsync(descriptor) == 0 else {
            let reason = String(cString: strerror(errno))
            unlink(path)
            throw .cannotMake(path: path, reason: reason)
        }
    }

    package static func randomBytes(_ count: Int) -> [UInt8] {
        var system = SystemRandomNumberGenerator()
        return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &system) }
    }

    // MARK: Genesis

    /// The genesis that this home lives by; nil on a fresh home.
    package func genesis() throws(HomeFault) -> Genesis? {
        guard let data = FileManager.default.contents(atPath: genesisPath) else { return nil }
        do { return try Genesis(decoding: Array(data)) } catch {
            throw .genesis("\(genesisPath) is damaged: \(error)")
        }
    }

    package static func readGenesis(_ path: String) throws(HomeFault) -> Genesis {
        guard let data = FileManager.default.contents(atPath: path) else { throw .genesis("\(path) cannot be read") }
        do { return try Genesis(decoding: Array(data)) } catch { throw .genesis("\(path) is no genesis: \(error)") }
    }

    /// Whole or not at all, and on disk when this returns.
    package func keep(_ genesis: Genesis) throws(HomeFault) {
        guard !FileManager.default.fileExists(atPath: genesisPath) else { throw .exists(path: genesisPath) }
        try Self.writeWhole(genesis.encoded(), to: genesisPath)
        unlink(wantedNetworkPath)
    }

    /// A home that was told to join a network never becomes one of its own, whatever it is started with later.
    package func wants(_ network: NetworkID) throws(HomeFault) {
        try Self.writeWhole(Array(network.text.utf8), to: wantedNetworkPath)
    }

    package var wantedNetwork: String? {
        FileManager.default.contents(atPath: wantedNetworkPath).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Writes a file beside its place and moves it there.
    static func writeWhole(_ bytes: [UInt8], to path: String) throws(HomeFault) {
        let partial = "\(path).partial"
        unlink(partial)
        try writeNew(bytes, to: partial)
        try move(partial, to: path)
    }

    /// Durable when this returns.
    static func move(_ from: String, to path: String) throws(HomeFault) {
        guard rename(from, path) == 0 else {
            throw .cannotMake(path: path, reason: String(cString: strerror(errno)))
        }
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .cannotMake(path: path, reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else {
            throw .cannotMake(path: path, reason: String(cString: strerror(errno)))
        }
    }
}
