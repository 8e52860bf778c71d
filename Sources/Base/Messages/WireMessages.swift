// Bytes in, bytes out for the messages of the peer wire: cores hold `[UInt8]` and never meet Foundation's `Data`, which
// the generated code speaks.

import Foundation
import SwiftProtobuf

extension Wire_PublicKeyMessage {
    package init(type: Wire_KeyType, bytes: [UInt8]) {
        self.init()
        self.type = type
        data = Data(bytes)
    }

    package var keyBytes: [UInt8] { [UInt8](data) }
}

extension Wire_NoiseHandshakePayload {
    package init(identityKey key: [UInt8], signature: [UInt8]) {
        self.init()
        identityKey = Data(key)
        identitySig = Data(signature)
    }

    package var identityKeyBytes: [UInt8] { [UInt8](identityKey) }
    package var signatureBytes: [UInt8] { [UInt8](identitySig) }
}

extension Wire_SignedEnvelope {
    package init(publicKey key: [UInt8], payloadType type: [UInt8], payload body: [UInt8], signature sign: [UInt8]) {
        self.init()
        publicKey = Data(key)
        payloadType = Data(type)
        payload = Data(body)
        signature = Data(sign)
    }

    package var publicKeyBytes: [UInt8] { [UInt8](publicKey) }
    package var payloadTypeBytes: [UInt8] { [UInt8](payloadType) }
    package var payloadBytes: [UInt8] { [UInt8](payload) }
    package var signatureBytes: [UInt8] { [UInt8](signature) }
}

extension Wire_PeerRecord {
    package init(peerID id: [UInt8], sequence: UInt64, addresses list: [[UInt8]]) {
        self.init()
        peerID = Data(id)
        seq = sequence
        addresses = list.map { bytes in
            var info = AddressInfo()
            info.multiaddr = Data(bytes)
            return info
        }
    }

    package var peerIDBytes: [UInt8] { [UInt8](peerID) }
    package var addressBytes: [[UInt8]] { addresses.map { [UInt8]($0.multiaddr) } }
}

extension Wire_Identify {
    package init(
        publicKey key: [UInt8], listenAddresses: [[UInt8]], protocols names: [String], observedAddress: [UInt8]?,
        protocolVersion version: String, agentVersion agent: String, signedPeerRecord record: [UInt8]
    ) {
        self.init()
        publicKey = Data(key)
        listenAddrs = listenAddresses.map { Data($0) }
        protocols = names
        if let observedAddress { observedAddr = Data(observedAddress) }
        protocolVersion = version
        agentVersion = agent
        signedPeerRecord = Data(record)
    }

    package var publicKeyBytes: [UInt8] { [UInt8](publicKey) }
    package var listenAddressBytes: [[UInt8]] { listenAddrs.map { [UInt8]($0) } }
    package var observedAddressBytes: [UInt8]? { hasObservedAddr ? [UInt8](observedAddr) : nil }
    package var signedPeerRecordBytes: [UInt8] { [UInt8](signedPeerRecord) }
}
