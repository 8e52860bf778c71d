// A store of keys that a test can look into and give to a second gateway, as a disk would be.

import Gateway
import Primitives
import Synchronization

final class MemoryKeys: APIKeyStore {
    let kept = Mutex<[Digest: APIKeyRecord]>([:])

    func records() throws(NodeFault) -> [APIKeyRecord] { kept.withLock { Array($0.values) } }

    func put(_ record: APIKeyRecord, done: @escaping @Sendable (NodeFault?) -> Void) {
        kept.withLock { $0[record.digest] = record }
        done(nil)
    }

    func remove(_ digest: Digest, done: @escaping @Sendable (NodeFault?) -> Void) {
        kept.withLock { $0[digest] = nil }
        done(nil)
    }
}
