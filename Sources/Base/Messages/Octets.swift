// swift-protobuf carries bytes fields as Foundation's Data. The cores know only [UInt8] and import no Foundation; these
// two members are where one becomes the other.

#if canImport(FoundationEssentials)
package import FoundationEssentials
#else
package import Foundation
#endif

extension Data {
    package init(octets: [UInt8]) { self.init(octets) }
    package var octets: [UInt8] { [UInt8](self) }
}
