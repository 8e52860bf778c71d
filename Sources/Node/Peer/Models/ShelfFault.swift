// Why a model or an adapter is not taken onto the shelf, and the shelf's limits.

package import ModelFiles
package import Primitives
package import Storage

package enum ShelfLimits {
    /// Models and adapters on one shelf.
    package static let entriesMax = 4096
    /// Weights up to this size are loaded whole before they are taken; of larger ones configuration, tokenizer, template
    /// and header are.
    package static let wholeCheckBytesMax: UInt64 = 256 << 20
    /// The JSON header of a safetensors file.
    package static let headerBytesMax = 64 << 20
    /// Levels of nodes above the leaves of a file: 1,024 links a node reach the largest file with two.
    package static let treeDepthMax = 4
}

package enum ShelfFault: Error, Sendable, CustomStringConvertible {
    /// The folder on this machine is not one of a model or an adapter.
    case folder(path: String, reason: String)
    case model(ModelFault)
    case manifest(CID, reason: String)
    case file(name: String, reason: String)
    /// A block of a file is not here yet: the pull goes on.
    case incomplete(name: String, missing: CID)
    case baseMissing(CID)
    case unknown(CID)
    case inUse(name: String, by: [String])
    case full(limit: Int)
    case storage(StorageFault)

    package var description: String {
        switch self {
        case .folder(let path, let reason): "\(path): \(reason)"
        case .model(let fault): "\(fault)"
        case .manifest(let cid, let reason): "\(cid.text) is no manifest of a model or an adapter: \(reason)"
        case .file(let name, let reason): "\(name): \(reason)"
        case .incomplete(let name, let missing): "\(name): block \(missing.text) is not here; pull it again"
        case .baseMissing(let base): "the base model \(base.text) is not here; import or pull it first"
        case .unknown(let cid): "\(cid.text) is not on this peer's shelf; import or pull it first"
        case .inUse(let name, let by): "\(name) is the base of \(by.joined(separator: ", ")); remove these first"
        case .full(let limit): "the shelf holds \(limit) models and adapters; remove one first"
        case .storage(let fault): "\(fault)"
        }
    }
}

/// Names the disk's faults as the shelf's.
func onDisk<Result>(_ body: () throws(StorageFault) -> Result) throws(ShelfFault) -> Result {
    do {
        return try body()
    } catch {
        throw .storage(error)
    }
}

/// Names the engine's faults as the shelf's.
func inModel<Result>(_ body: () throws(ModelFault) -> Result) throws(ShelfFault) -> Result {
    do {
        return try body()
    } catch {
        throw .model(error)
    }
}
