// Models' matrices as they were packed, one mapped file a model and precision: see PreparedWeights. Small models are packed
// each time; that takes no longer than a page fault a page.

import Arithmetic
import Dispatch
import Inference
import Logging
import Primitives
import Storage

package final class PreparedShelf: Sendable {
    static let filesMax = 8
    static let reserveBytes: UInt64 = 2 << 30
    static let bytesMin = 32 << 20
    private static let suffix = ".weights"

    private let folder: CacheFolder
    private let bytesMin: Int
    private let logger: Logger
    private let writing = DispatchQueue(label: "openledger.prepared", qos: .background)

    init(
        path: String, logger: Logger, bytesMin: Int = PreparedShelf.bytesMin,
        reserveBytes: UInt64 = PreparedShelf.reserveBytes
    ) throws(StorageFault) {
        folder = try CacheFolder(path: path, filesMax: Self.filesMax, reserveBytes: reserveBytes)
        self.bytesMin = bytesMin
        self.logger = logger
    }

    private static func name(_ key: EngineKey) -> String { "\(key.model.text).\(key.precision.rawValue)\(suffix)" }

    /// What was packed before; nil where there is none that can be read.
    func weights(_ key: EngineKey) -> PreparedWeights? {
        do {
            guard let file = try folder.map(Self.name(key)) else { return nil }
            let found = PreparedWeights(
                file.unsafeBytes, owner: file, key: key.model.digest.bytes, precision: key.precision)
            if found == nil {
                logger.notice("prepared weights of another layout are made anew", metadata: ["file": "\(file.path)"])
            }
            return found
        } catch {
            logger.warning("prepared weights cannot be read: \(error)")
            return nil
        }
    }

    /// Writes them in the background; a model that is in use already goes on with its own memory.
    func keep(_ model: LoadedModel, as key: EngineKey) {
        guard model.weightBytes >= bytesMin else { return }
        writing.async { [self] in
            do {
                let isWritten = try folder.write(Self.name(key), bytes: UInt64(model.multipliedBytes)) {
                    write throws(StorageFault) in
                    try model.writePrepared(key: key.model.digest.bytes, write)
                }
                if !isWritten { logger.notice("no room to keep a model's prepared weights; it starts slower") }
            } catch {
                logger.warning("prepared weights were not written: \(error)")
            }
        }
    }

    /// Of every precision.
    func remove(_ model: CID) {
        writing.async { [self] in
            for precision in Precision.allCases {
                do {
                    try folder.remove(Self.name(EngineKey(model: model, precision: precision)))
                } catch {
                    logger.warning("prepared weights stay on disk: \(error)")
                }
            }
        }
    }

    /// Waits until what was to be written is.
    func drain() { writing.sync {} }
}
