// Which network a home is on. A network is the hash of its genesis: given as a file, or as the hash alone, which is then
// asked of the boot peers. Without either, the home is a local network of its own.

import Foundation
import Gateway
import Ledger
import Logging
import Metrics
import Primitives
import Records
import Storage

extension RunningPeer {
    static func genesis(
        _ home: Home, _ settings: Settings, _ key: SigningKey, _ shelved: [(CID, FolderManifest)], _ store: Store,
        _ options: PeerOptions, _ logger: Logger
    ) async throws(PeerFault) -> Genesis {
        do {
            try LedgerArchive.finish(home, store)
            let known = try home.genesis()
            var wanted = settings.text("network")
            if wanted.isEmpty, known == nil { wanted = home.wantedNetwork ?? "" }
            if wanted.isEmpty {
                if let known { return known }
                let genesis = try LocalNetwork.genesis(owner: key, assets: shelved, at: NodeDriver.wallTime())
                try home.keep(genesis)
                return genesis
            }
            let genesis: Genesis
            if let network = NetworkID(text: wanted) {
                if let known, known.network == network { return known }
                try mayLeave(known, for: network, key)
                if known == nil { try home.wants(network) }
                genesis = try await found(network, home, settings, key, options, logger)
            } else {
                genesis = try Home.readGenesis(wanted)
                if let known, known.network == genesis.network { return known }
                try mayLeave(known, for: genesis.network, key)
            }
            guard let known else {
                try home.keep(genesis)
                return genesis
            }
            logger.notice(
                "the local ledger \(known.network) goes to \(LedgerArchive.folder(home, known.network)); keys and content stay"
            )
            try LedgerArchive.join(genesis, home, store)
            return genesis
        } catch let fault as HomeFault {
            throw .home(fault)
        } catch let fault as StorageFault {
            throw .storage(fault)
        } catch let fault as PeerFault {
            throw fault
        } catch {
            throw .network("\(error)")
        }
    }

    /// Only a ledger that nobody else shares is put aside: who forgot how it voted among others could vote twice.
    private static func mayLeave(_ known: Genesis?, for next: NetworkID, _ key: SigningKey) throws(PeerFault) {
        guard let known else { return }
        let members = known.committee.members
        guard known.name == LocalNetwork.name, members.count == 1, members.first?.key == key.publicKey else {
            throw .network("this home belongs to network \(known.network); use another home for \(next)")
        }
    }

    private static func found(
        _ network: NetworkID, _ home: Home, _ settings: Settings, _ key: SigningKey, _ options: PeerOptions,
        _ logger: Logger
    ) async throws -> Genesis {
        let boot = try settings.addresses("bootstrap")
        guard !boot.isEmpty else {
            throw PeerFault.waiting(
                "this home does not have the genesis of \(network); name a peer that has it: --bootstrap MULTIADDR, or give the genesis file: --network FILE"
            )
        }
        guard !options.offline else {
            throw PeerFault.waiting(
                "this home does not have the genesis of \(network) yet; start it and let it ask: openledger up --home \(home.path)"
            )
        }
        let search = GenesisSearch(network: network, boot: boot, key: key, logger: logger)
        let service = WaitingService(
            search: search, home: home, settings: settings, key: key, started: NodeDriver.wallTime())
        // What ends it is no fault, and what it waits for is said by the search.
        var quiet = logger
        quiet.logLevel = .critical
        let gateway = try PeerProcess.gateway(home, settings, service, PrometheusRegistry(), quiet)
        let (bound, bind) = AsyncStream<Void>.makeStream()
        return try await withThrowingTaskGroup(of: Genesis?.self) { group in
            group.addTask {
                try await gateway.run { _ in bind.finish() }
                return nil
            }
            group.addTask {
                let genesis = try await search.run()
                for await _ in bound {}
                await gateway.drain()
                return genesis
            }
            var found: Genesis?
            do {
                // The genesis comes, and then the gateway has drained and its address is free; or the gateway fails.
                while let result = try await group.next() {
                    guard let genesis = result else {
                        if found == nil { group.cancelAll() }
                        continue
                    }
                    found = genesis
                }
            } catch {
                group.cancelAll()
                throw Task.isCancelled ? PeerFault.stopped : error
            }
            guard let found else { throw PeerFault.stopped }
            return found
        }
    }
}
