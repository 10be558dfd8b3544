"""mmdsts.engine"""
