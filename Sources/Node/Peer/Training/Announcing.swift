// Adapters that were trained here, told to the network as imported ones are.

import Ledger
import NodeCore
import Primitives
import Records

extension RunningPeer {
    /// For as long as the peer runs.
    func tell(of trained: AsyncStream<(CID, FolderManifest)>) {
        Task { [weak self] in
            for await (cid, manifest) in trained {
                guard let self else { return }
                await announce(cid, manifest)
                await register(cid, .adapter)
                await advertise()
            }
        }
    }

    /// The owner's share of fees goes to whoever the chain has for owner; a peer without OPEN does it later, or never.
    func register(_ cid: CID, _ kind: FolderKind) async {
        guard shelf.entry(cid)?.isWithheld != true else { return }
        let asset: AssetKind = kind == .model ? .model : .adapter
        let mayRegister =
            (try? await handle.read { node in
                node.registeredOwner(cid, asset) == nil && node.accountState(node.account).free > .zero
            }) ?? false
        if mayRegister { _ = await handle.perform(.transact(.registerAsset(cid, kind: asset), wait: false)) }
    }
}
