// Which datanets are complete here, for those who are not on the loop: the driver writes it after every change.

import Datanets
import NodeCore
package import Primitives
import Synchronization

package final class DatanetDirectory: Sendable {
    private let datanets = Mutex<[Digest: HeldDatanet]>([:])

    func update(_ id: DatanetID, from node: Node) {
        guard let manifest = node.datanets.manifest(id), let snapshot = node.datanets.snapshot(id) else { return }
        let held = HeldDatanet(
            id: id, name: manifest.name, snapshot: snapshot, shards: node.datanets.shards(id), licence: manifest.licence
        )
        datanets.withLock { $0[id.digest] = held }
    }

    package func held(_ id: Digest) -> HeldDatanet? { datanets.withLock { $0[id] } }
}
